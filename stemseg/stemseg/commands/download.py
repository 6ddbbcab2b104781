"""`stemseg download NAME`: published weights or a detector's backbone, checked and put in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stemseg.checkpoint import PUBLISHED, convert_detector_file, load_network
from stemseg.commands.common import say
from stemseg.config import load_config
from vidseg_common.config import ArgumentParser
from vidseg_common.download_flags import add_source_flags, download_checked

BACKBONES = ("mask_rcnn_R_101_FPN_backbone", "mask_rcnn_R_50_FPN_backbone")


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser(
        "stemseg download",
        description=f"{__doc__}\n\nThe authors publish the files behind links that are not stable. "
        "Give the link of today, or a copy fetched by hand.",
    )
    parser.add_argument("name", choices=[*PUBLISHED, *BACKBONES], help="which file")
    add_source_flags(parser)
    parser.add_argument(
        *("--output", "-o"), type=Path, default=Path("saves/stemseg"), help="folder of weights"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point.

    Raises:
        DownloadError: there is no source, or it cannot be fetched.
        CheckpointError: it is not the file that it should be.
    """
    args = build_parser().parse_args(argv)
    target = args.output / f"{args.name}.pth"

    def accept(fetched: Path) -> None:
        if args.name in BACKBONES:
            num_keys = convert_detector_file(fetched, target)
            fetched.unlink()
            say(f"{target}: backbone of {num_keys} keys, ready for training")
        else:
            load_network(fetched, load_config(PUBLISHED[args.name]))
            say(f"{target}: loads strictly, ready to use")

    download_checked(args, target, accept)
    return 0
