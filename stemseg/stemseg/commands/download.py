"""`stemseg download NAME`: published weights or a detector's backbone, checked and put in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stemseg.checkpoint import PUBLISHED, convert_detector_file, load_network
from stemseg.commands.common import say
from stemseg.config import load_config
from vidseg_common.config import ArgumentParser
from vidseg_common.download import download
from vidseg_common.errors import DownloadError
from vidseg_common.files import check_writable

BACKBONES = ("mask_rcnn_R_101_FPN_backbone", "mask_rcnn_R_50_FPN_backbone")


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser(
        "stemseg download",
        description=f"{__doc__}\n\nThe authors publish the files behind links that are not stable. "
        "Give the link of today, or a copy fetched by hand.",
    )
    parser.add_argument("name", choices=[*PUBLISHED, *BACKBONES], help="which file")
    parser.add_argument("--url", help="http(s) address of the file")
    parser.add_argument("--drive-id", help="id of the file on Google Drive")
    parser.add_argument("--from-file", type=Path, help="a copy fetched by hand")
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
    if sum(x is not None for x in (args.url, args.drive_id, args.from_file)) != 1:
        raise DownloadError(
            f"{args.name}: give one of --url, --drive-id and --from-file; the links are on the "
            "page of the original project"
        )
    check_writable(args.output)
    target = args.output / f"{args.name}.pth"
    fetched = target.with_suffix(".unchecked")
    download(fetched, url=args.url, drive_id=args.drive_id, from_file=args.from_file)
    try:
        if args.name in BACKBONES:
            num_keys = convert_detector_file(fetched, target)
            say(f"{target}: backbone of {num_keys} keys, ready for training")
        else:
            load_network(fetched, load_config(PUBLISHED[args.name]))
            fetched.replace(target)
            say(f"{target}: loads strictly, ready to use")
    finally:
        fetched.unlink(missing_ok=True)
    return 0
