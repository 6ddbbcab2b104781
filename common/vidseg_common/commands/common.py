"""What the commands share: flags of an annotated data set, and how it is opened."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.datasets.records import other_videos_notes
from vidseg_common.errors import UserError
from vidseg_common.format_guess import guess_format
from vidseg_common.formats import Format, find_format

__all__ = [
    "add_data_flags",
    "add_dense_flag",
    "add_quiet_flag",
    "add_truth_flags",
    "chosen_format",
    "open_data",
    "open_truth",
    "say",
    "shows_progress",
    "warn",
    "warn_of_others",
]


def add_data_flags(parser: argparse.ArgumentParser, path_help: str) -> None:
    """PATH, --format, --images, --split, --kind, --all-frames, --quiet."""
    add = parser.add_argument
    add("path", type=Path, metavar="PATH", help=path_help)
    add("--format", metavar="NAME", help="its format (default: found out; see `vidseg formats`)")
    add("--images", type=Path, metavar="DIR", help="folder that the image names are relative to")
    add_split_flags(parser)
    add_dense_flag(parser)
    add_quiet_flag(parser)


def add_dense_flag(parser: argparse.ArgumentParser) -> None:
    """--all-frames."""
    parser.add_argument("--all-frames", dest="dense", action="store_true", default=None,
                        help="youtube-vos: all frames at 30 fps, from all_frames")  # fmt: skip


def add_split_flags(parser: argparse.ArgumentParser) -> None:
    """--split and --kind."""
    parser.add_argument("--split", metavar="NAME", help="split, for formats that have lists")
    parser.add_argument("--kind", metavar="NAME", help="sailvos: amodal, visible or joint")


def add_truth_flags(parser: argparse.ArgumentParser, help_text: str) -> None:
    """--gt and --gt-format."""
    parser.add_argument("--gt", type=Path, metavar="PATH", help=help_text)
    parser.add_argument("--gt-format", metavar="NAME", help="its format (default: found out)")


def add_quiet_flag(parser: argparse.ArgumentParser) -> None:
    """--quiet."""
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def chosen_format(name: str | None, path: Path, *, truth: AnnotationSet | None = None) -> Format:
    """The format that was named, or that the path looks like; of results where there is truth.

    Raises:
        UserError: no such format, nothing at the path, or it looks like no format.
    """
    if not path.exists():
        raise UserError(f"nothing at {path}")
    if name is None:
        name = guess_format(path, is_results=truth is not None)
        if truth is not None and truth.info.get("format") == "youtube-vos":
            name = {"davis-results": "youtube-vos-results"}.get(name, name)
    return find_format(name)


def asked_options(options: argparse.Namespace) -> dict[str, Any]:
    """What a format's function is asked for, from the flags that the command has."""
    names = {"split": "split", "kind": "kind", "all_frames": "dense"}
    asked = {name: getattr(options, flag, None) for name, flag in names.items()}
    return {**asked, "progress": shows_progress(options)}


def open_data(
    options: argparse.Namespace,
    path: Path,
    *,
    name: str | None = None,
    images: Path | None = None,
    truth: AnnotationSet | None = None,
) -> tuple[AnnotationSet, Format]:
    """Reads a data set or results with the flags of a command.

    Args:
        options: the flags.
        path: where it is.
        name: its format; None finds it out.
        images: image root; None takes the one in the layout of the format where it exists.
        truth: the ground truth that results belong to.

    Raises:
        UserError: it cannot be read.
    """
    found = chosen_format(name, path, truth=truth)
    asked = asked_options(options)
    if truth is not None:
        asked["masks"] = getattr(options, "masks", None)
    images = images or found.image_root(path, asked["split"], asked["kind"])
    return found.read(path, images=images, truth=truth, **asked), found


def open_truth(options: argparse.Namespace) -> AnnotationSet | None:
    """Reads the ground truth of `--gt`, None where it was not given.

    Raises:
        UserError: it cannot be read.
    """
    if options.gt is None:
        return None
    images = getattr(options, "images", None)
    return open_data(options, options.gt, name=options.gt_format, images=images)[0]


def shows_progress(options: argparse.Namespace) -> bool:
    """Whether bars are shown: not with --quiet, and not where stderr is a file."""
    return not options.quiet and sys.stderr.isatty()


def say(*lines: str) -> None:
    """Writes lines to stdout."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def warn(messages: Iterable[str]) -> None:
    """Writes warnings to stderr."""
    sys.stderr.write("".join(f"warning: {message}\n" for message in messages))


def warn_of_others(data: AnnotationSet) -> None:
    """Warns of results that belong to none of the videos."""
    warn(other_videos_notes(data.info.get("other_videos", [])))


def plural(number: int, noun: str) -> str:
    """A number with its noun: "1 video", "3 videos"."""
    ending = noun[:-1] + "ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else ending}"


def text_table(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Aligned lines: a header, then the rows; numbers to the right.

    Args:
        columns: key of each column and its heading.
        rows: cells by key; what is absent or None becomes "-".
    """
    rows = list(rows)
    cells = [[_cell(row.get(key)) for key in columns] for row in rows]
    widths = [
        max(len(text) for text in column) for column in zip(columns.values(), *cells, strict=True)
    ]
    is_text = [any(isinstance(row.get(key), str) for row in rows) for key in columns]
    lines = []
    for line in ([*columns.values()], *cells):
        parts = [
            text.ljust(width) if left else text.rjust(width)
            for text, width, left in zip(line, widths, is_text, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
