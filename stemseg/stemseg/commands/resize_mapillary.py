"""`data/resize_mapillary.py`: Mapillary Vistas as the training wants it (spec 2, 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stemseg.commands.common import count, say
from stemseg.data.mapillary_resize import (
    LONGER_SIDE,
    RESIZED,
    SPLITS,
    read_size_list,
    resize_vistas,
)
from vidseg_common.arguments import ArgumentParser
from vidseg_common.files import check_writable
from vidseg_common.metrics.parallel import positive_int


def build_parser() -> ArgumentParser:
    """The flags."""
    parser = ArgumentParser(
        "resize_mapillary.py",
        description="Write a smaller copy of Mapillary Vistas, its list of sizes and "
        "mapillary.json.",
    )
    add = parser.add_argument
    add("source", type=Path, metavar="VISTAS", help="folder with training and validation")
    add("output", type=Path, metavar="DST", help="folder to write")
    add(
        "--longer_side",
        type=positive_int,
        default=LONGER_SIDE,
        help="largest longer side in pixels",
    )
    add("--size_list", type=Path, metavar="FILE",
        help="lines NAME WIDTH HEIGHT for every image, instead of --longer_side")  # fmt: skip
    add("--splits", nargs="+", default=list(SPLITS), metavar="NAME", help="folders to take")
    add("--num_workers", type=count, default=8, help="processes; 0 for none beside this one")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Makes the copy.

    Returns:
        0, the exit status.

    Raises:
        UserError: a flag is out of range, or files are missing or damaged.
        OSError: a file cannot be written.
    """
    options = build_parser().parse_args(argv)
    check_writable(options.output)
    num_images = resize_vistas(
        options.source,
        options.output,
        longer_side=options.longer_side,
        sizes=None if options.size_list is None else read_size_list(options.size_list),
        splits=options.splits,
        num_workers=options.num_workers,
    )
    say(
        f"{num_images} images; set MAPILLARY_IMAGES_DIR={options.output / RESIZED / 'images'} "
        f"and put {options.output / 'mapillary.json'} into STEMSEG_JSON_ANNOTATIONS_DIR"
    )
    return 0
