"""`vidseg convert`: annotations of one format written in another."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml

from vidseg_common.arguments import ArgumentParser, did_you_mean
from vidseg_common.commands.common import (
    add_dense_flag,
    add_quiet_flag,
    add_truth_flags,
    chosen_format,
    open_data,
    open_truth,
    plural,
    say,
    shows_progress,
    warn,
    warn_of_others,
)
from vidseg_common.conversion_run import Conversion, convert
from vidseg_common.datasets.category_maps import CATEGORY_MAPS
from vidseg_common.errors import UserError
from vidseg_common.formats import find_format

_BUILT_IN = {f"{source}:{target}": (source, target) for source, target in CATEGORY_MAPS}


def build_parser() -> ArgumentParser:
    """The flags."""
    parser = ArgumentParser(
        "vidseg convert",
        description="Write annotations, and images if wanted, in another format.",
    )
    add = parser.add_argument
    add("source", type=Path, metavar="SRC", help="annotation file or folder, or results")
    add("--from", dest="source_format", metavar="NAME", help="its format (default: found out)")
    add("--to", dest="target_format", metavar="NAME", required=True, help="the wanted format")
    add("-o", "--output", type=Path, required=True, metavar="DST",
        help="file or folder to write; a folder for --images")  # fmt: skip
    add("--images", default="none", choices=["none", "link", "copy"],
        help="bring the images along, in the layout of the target")  # fmt: skip
    add("--image-root", type=Path, metavar="DIR", help="where the images of SRC lie")
    add("--map", metavar="FILE", help="YAML file `old name: new name` (null leaves a category "
        f"out), or one of {', '.join(_BUILT_IN)}")  # fmt: skip
    add("--categories", nargs="+", metavar="NAME",
        help="keep only these categories, numbered 1, 2, ... in this order")  # fmt: skip
    add("--videos", nargs="+", metavar="NAME", help="only these videos")
    add("--split", metavar="NAME", help="split to read, for formats that have lists")
    add("--to-split", metavar="NAME", help="split to write (default: as the target has it)")
    add("--kind", metavar="NAME", help="sailvos: amodal, visible or joint")
    add_dense_flag(parser)
    add_truth_flags(parser, "ground truth that results belong to")
    add("--overwrite", action="store_true", help="replace what is at DST")
    add_quiet_flag(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Converts.

    Returns:
        0, the exit status.

    Raises:
        UserError: the source cannot be read, or the target cannot hold it.
        OSError: a file cannot be written.
    """
    options = build_parser().parse_args(argv)
    target = find_format(options.target_format)
    truth = open_truth(options)
    source = chosen_format(options.source_format, options.source, truth=truth)
    kind = options.kind
    # The kind is that of the target; a file tells its own, only a folder has to be told it.
    if target.takes_kind and (not source.takes_kind or options.source.is_file()):
        options.kind = None
    data, _ = open_data(
        options, options.source, name=source.name, images=options.image_root, truth=truth
    )
    warn_of_others(data)
    plan = Conversion(
        images=options.images,
        split=options.to_split,
        kind=kind if target.takes_kind else None,
        mapping=_mapping(options),
        built_in_map=_BUILT_IN.get(options.map),
        categories=options.categories,
        videos=options.videos,
        overwrite=options.overwrite,
        inputs=(options.source, options.image_root, data.image_root, options.gt),
        progress=shows_progress(options),
    )
    warn(convert(data, source, target, options.output, plan))
    number = plural(len(options.videos or data.videos), "video")
    say(f"{number} from {source.name} to {target.name} in {options.output}")
    return 0


def _mapping(options: argparse.Namespace) -> dict[str, str | None] | None:
    """The contents of the file of `--map`, None without one."""
    if options.map is None or options.map in _BUILT_IN:
        return None
    path = Path(options.map)
    if not path.is_file():
        raise UserError(f"no map of categories: {path}{did_you_mean(options.map, _BUILT_IN)}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {error}") from None
    if not isinstance(content, dict) or not all(
        new is None or isinstance(new, str) for new in content.values()
    ):
        raise UserError(f"{path}: expected lines `old name: new name`, with null to leave one out")
    return {str(old): new for old, new in content.items()}
