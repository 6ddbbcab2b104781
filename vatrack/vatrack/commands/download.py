"""`vatrack download NAME`: published weights or the starting point, checked and put in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vatrack.checkpoint import load_network
from vatrack.config import load_config, model_settings
from vatrack.model import build
from vatrack.start import load_start
from vatrack.weights import RELEASED, START
from vidseg_common.arguments import ArgumentParser
from vidseg_common.commands.common import say
from vidseg_common.download_flags import download_checked, download_parser
from vidseg_common.errors import CheckpointError


def build_parser() -> ArgumentParser:
    """The command line."""
    return download_parser(
        "vatrack download",
        f"{__doc__}\n\nThe authors publish the files behind links that are not stable. "
        "Give the link of today, or a copy fetched by hand.",
        (*RELEASED, START[0]),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point.

    Raises:
        DownloadError: there is no source, or it cannot be fetched.
        CheckpointError: it is not the file that it should be.
    """
    args = build_parser().parse_args(argv)
    target = args.output / f"{args.name}.pth"
    download_checked(args, target, lambda fetched: say(f"{target}: {_check(args.name, fetched)}"))
    return 0


def _check(name: str, path: Path) -> str:
    """What the file is, in words.

    Raises:
        CheckpointError: something else.
    """
    if name in RELEASED:
        load_network(path, load_config(RELEASED[name][1]))
        return "loads strictly, ready to use"
    report = load_start(build(model_settings(load_config("QDTrack_SAILVOScut"))), str(path))
    if len(report.taken) < len(report.left):
        raise CheckpointError(f"{path}: is not the detector to start from: {report.text()}")
    return f"ready to start a training from: {report.text()}"
