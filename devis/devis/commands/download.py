"""`devis download NAME`: published weights or a starting point, checked and put in place."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from devis.checkpoint import load_network, read_checkpoint
from devis.config import load_config, model_settings
from devis.model import build
from devis.start import StartOptions, start_devis, start_mask_head
from devis.weights import RELEASED, STARTS
from vidseg_common.archives import extract
from vidseg_common.commands.common import say
from vidseg_common.config import ArgumentParser
from vidseg_common.download_flags import download_checked, download_parser
from vidseg_common.errors import CheckpointError

SUFFIX = ".pth"


def build_parser() -> ArgumentParser:
    """The command line."""
    return download_parser(
        "devis download",
        f"{__doc__}\n\nThe authors publish every file packed into a zip, behind links "
        "that are not stable. Give the link of today, or a copy fetched by hand, packed or not.",
        (*RELEASED, *STARTS),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point.

    Raises:
        DownloadError: there is no source, or it cannot be fetched.
        CheckpointError: it is not the file that it should be.
    """
    args = build_parser().parse_args(argv)
    target = args.output / f"{args.name}{SUFFIX}"

    def accept(fetched: Path) -> None:
        unpack(fetched)
        say(f"{target}: {_check(args.name, fetched)}")

    download_checked(args, target, accept)
    return 0


def unpack(path: Path) -> None:
    """Replaces a zip that has a file of weights by that file; another file stays as it is.

    Files of weights are zips themselves, but with other things inside.

    Raises:
        CheckpointError: the zip has several files of weights.
        DownloadError: it is damaged.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as packed:
        names = [name for name in packed.namelist() if name.endswith(SUFFIX)]
    if not names:
        return
    if len(names) > 1:
        raise CheckpointError(
            f"{path}: holds {len(names)} files of weights; unpack it and give one of "
            f"{', '.join(names)}"
        )
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        extract(path, folder)
        (Path(folder) / names[0]).replace(path)


def _check(name: str, path: Path) -> str:
    """What the file is, in words.

    Raises:
        CheckpointError: something else.
    """
    if name in RELEASED:
        load_network(path, load_config(RELEASED[name]))
        return "loads strictly, ready to use"
    cfg = load_config(STARTS[name])
    settings = model_settings(cfg)
    own, given = build(settings).state_dict(), read_checkpoint(path).model
    if settings.temporal:
        start = start_devis(given, own, settings, StartOptions(), str(path))
    else:
        shift = cfg.MODEL.SHIFT_CLASS_NEURON
        start = start_mask_head(given, own, shift_classes=shift, source=str(path))
    if len(start.keys_from("scratch")) > len(own) // 2:
        raise CheckpointError(f"{path}: does not belong to {STARTS[name]}\n{start.text()}")
    return f"ready to start a training from: {start.text().splitlines()[0]}"
