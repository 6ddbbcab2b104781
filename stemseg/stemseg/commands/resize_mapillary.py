"""`data/resize_mapillary.py`: Mapillary Vistas as the training wants it (spec 2, 3.2)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from stemseg.data.mapillary_resize import (
    LONGER_SIDE,
    RESIZED,
    SPLITS,
    read_size_list,
    resize_vistas,
)
from vidseg_common.arguments import ArgumentParser
from vidseg_common.errors import ConfigError
from vidseg_common.files import check_writable


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
    add("--longer_side", type=int, default=LONGER_SIDE, help="largest longer side in pixels")
    add("--size_list", type=Path, metavar="FILE",
        help="lines NAME WIDTH HEIGHT for every image, instead of --longer_side")  # fmt: skip
    add("--splits", nargs="+", default=list(SPLITS), metavar="NAME", help="folders to take")
    add("--num_workers", type=int, default=8, help="processes; 0 for none beside this one")
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
    if options.longer_side < 1:
        raise ConfigError(f"--longer_side must be at least 1, got {options.longer_side}")
    if options.num_workers < 0:
        raise ConfigError(f"--num_workers cannot be negative, got {options.num_workers}")
    check_writable(options.output)
    count = resize_vistas(
        options.source,
        options.output,
        longer_side=options.longer_side,
        sizes=None if options.size_list is None else read_size_list(options.size_list),
        splits=options.splits,
        num_workers=options.num_workers,
    )
    sys.stdout.write(
        f"{count} images; set MAPILLARY_IMAGES_DIR={options.output / RESIZED / 'images'} and put "
        f"{options.output / 'mapillary.json'} into STEMSEG_JSON_ANNOTATIONS_DIR\n"
    )
    return 0
