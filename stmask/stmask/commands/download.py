"""`stmask download NAME`: published weights or a starting point, checked and put in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stmask.checkpoint import build_network, load_coco_start, load_network
from stmask.commands.flags import say
from stmask.config import get_config
from stmask.weights import COCO_STARTS, FIRST_TABLE, RELEASED
from vidseg_common.config import ArgumentParser
from vidseg_common.download_flags import download_checked, download_parser

#: Starting point to a configuration that starts from it.
STARTS = dict(
    zip(COCO_STARTS, ("STMask_plus_base_config", "STMask_plus_resnet50_config"), strict=True)
)
#: Folder of the starting points below that of the weights.
START_FOLDER = "pretrained_models_coco"


def build_parser() -> ArgumentParser:
    """The command line."""
    return download_parser(
        "stmask download",
        f"{__doc__}\n\nThe authors publish the files behind links that are not stable, "
        "one of which leads to another model. Give the link of today, or a copy fetched by hand.",
        (*RELEASED, *FIRST_TABLE, *COCO_STARTS),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point.

    Raises:
        DownloadError: there is no source, or it cannot be fetched.
        CheckpointError: it is not the file that it should be.
    """
    args = build_parser().parse_args(argv)
    folder = args.output / START_FOLDER if args.name in STARTS else args.output
    target = folder / f"{args.name}.pth"
    download_checked(args, target, lambda fetched: say(f"{target}: {_check(args.name, fetched)}"))
    return 0


def _check(name: str, path: Path) -> str:
    """What the file is, in words.

    Raises:
        CheckpointError: something else.
    """
    if name in STARTS:
        start = load_coco_start(path, build_network(get_config(STARTS[name])))
        return f"ready to start a training from: {start.text()}"
    config = FIRST_TABLE.get(name, f"{name}_config")
    _, report = load_network(path, get_config(config))
    return report.text() or "loads strictly, ready to use"
