"""`scripts/split_valid_sub.py`: the authors' split of the training videos (spec section 8.2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stmask.commands.flags import say
from vidseg_common.config import ArgumentParser
from vidseg_common.conversion import select_positions
from vidseg_common.datasets import youtube_vis
from vidseg_common.errors import DatasetError


def build_parser() -> ArgumentParser:
    """Flags of the script."""
    parser = ArgumentParser(
        "split_valid_sub.py",
        description="Write train_sub.json, the first nine tenths of the training videos, and "
        "valid_sub.json, the rest, in the order of the file.",
    )
    add = parser.add_argument
    add("annotations", type=Path, help="annotation file of the training videos")
    add("-o", "--output", type=Path, help="folder to write; default: that of the file")
    add("--prefix", default="", help="of the names of both files; OVIS has annotations_")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Writes both files.

    Raises:
        DatasetError: the annotations cannot be read, are none, or have fewer than two videos.
    """
    args = build_parser().parse_args(argv)
    data = youtube_vis.read(args.annotations)
    if not data.has_annotations:
        raise DatasetError(f"{args.annotations}: field annotations: expected some, found none")
    total = len(data.videos)
    if total < 2:
        raise DatasetError(f"{args.annotations}: field videos: expected two or more, got {total}")
    num_train = 9 * total // 10
    folder = args.output or args.annotations.parent
    parts = {"train_sub": range(num_train), "valid_sub": range(num_train, total)}
    for name, places in parts.items():
        path = folder / f"{args.prefix}{name}.json"
        youtube_vis.write(select_positions(data, places), path)
        say(f"{len(places)} videos in {path}")
    return 0
