"""From raw SAIL-VOS to what the networks train on: the original scripts as commands.

Every step goes on where it was interrupted: files and frames that are finished stay as they are,
and the search for changes of scene keeps notes of the videos that it is through with.
Source: spec 4.2, 4.3.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from vatrack.config import DATA_VARIABLE
from vidseg_common.arguments import ArgumentParser
from vidseg_common.datasets import sailvos
from vidseg_common.datasets.sailvos_convert import FILE_NAMES, json_script, sailvos2coco
from vidseg_common.datasets.sailvos_cut import create_sailvoscut_fromdict, sailvos2coco_cut
from vidseg_common.datasets.sailvos_kinds import annotation_path, kind_of
from vidseg_common.datasets.sailvos_per_video import MAX_OCCLUDE_RATE, write_per_video
from vidseg_common.errors import UserError
from vidseg_common.metrics.parallel import available_cpus, positive_int

Words = Sequence[str] | None
Step = Callable[[Path, Path], list[str]]
LINKS = ("copy", "hardlink", "symlink")


def main_number(argv: Words = None) -> int:
    """`sailvos2coco`: numbers videos and instances of the raw annotations."""
    args = _parser("sailvos2coco", main_number).parse_args(argv)
    return _convert(args, partial(sailvos2coco, progress=_is_shown(args)))


def main_cut(argv: Words = None) -> int:
    """`sailvos2coco_cut`: splits videos where the scene changes."""
    parser = _parser("sailvos2coco_cut", main_cut)
    add = parser.add_argument
    root = _data_root()
    add("--frames", type=Path, default=root / "sailvos_complete_png", metavar="DIR",
        help="folder that the images of the annotations are named relative to")  # fmt: skip
    add("--frames-out", type=Path, metavar="DIR", help="for the frames of the pieces (--frames)")
    add("--transfer", default="none", choices=["none", *LINKS, "move"],
        help="how frames get there")  # fmt: skip
    _add_workers(parser)
    args = parser.parse_args(argv)

    def step(source: Path, out: Path) -> list[str]:
        return sailvos2coco_cut(
            source,
            out,
            frames=args.frames,
            frames_out=args.frames_out,
            transfer=args.transfer,
            notes=_notes(out),
            workers=args.workers,
            progress=_is_shown(args),
        )

    return _convert(args, step)


def main_kind(argv: Words = None) -> int:
    """`json_script`: makes the amodal, visible or joint annotations of numbered or cut ones."""
    parser = _parser("json_script", main_kind)
    add = parser.add_argument
    add("--kind", required=True, choices=["amodal", "visible", "joint"], help="which masks")
    add("--bbox", choices=["amdl", "visb", "both"], help="boxes of joint annotations (amdl)")
    _add_max_hidden(parser)
    args = parser.parse_args(argv)
    kind = kind_of(args.kind, args.bbox)
    step = partial(json_script, kind=str(kind), max_rate=args.max_hidden, progress=_is_shown(args))
    return _convert(args, step, lambda out, name: annotation_path(out, Path(name).stem, kind))


def main_per_video(argv: Words = None) -> int:
    """`per_video`: makes the ground truth of the video-level AP, one entry per object."""
    parser = _parser("per_video", main_per_video)
    parser.add_argument("--masks", default="visible", choices=["visible", "amodal"], help="which")
    _add_max_hidden(parser)
    args = parser.parse_args(argv)

    def step(source: Path, out: Path) -> list[str]:
        data = sailvos.read(source, progress=_is_shown(args))
        write_per_video(data, out, masks=args.masks, max_rate=args.max_hidden)
        return []

    return _convert(args, step)


def main_frames(argv: Words = None) -> int:
    """`create_sailvoscut_fromdict`: makes the frames of SAIL-VOS-cut from the published list."""
    root = _data_root()
    parser = ArgumentParser("create_sailvoscut_fromdict", description=_first_line(main_frames))
    add = parser.add_argument
    add("--structure", type=Path, default=root / "sailvos_cut_structure.json", metavar="FILE",
        help="piece to its frames, as published")  # fmt: skip
    add("-i", "--input", type=Path, default=root / "sailvos_complete_png", metavar="DIR",
        help="frames of SAIL-VOS, VIDEO/images/FRAME")  # fmt: skip
    add("-o", "--output", type=Path, default=root / "sailvos_cut_png", metavar="DIR",
        help="for the frames of the pieces; those that are there stay")  # fmt: skip
    add("--transfer", default="copy", choices=LINKS, help="how frames get there; bmp is always "
        "encoded anew as png")  # fmt: skip
    _add_workers(parser)
    _add_quiet(parser)
    args = parser.parse_args(argv)
    count = create_sailvoscut_fromdict(
        args.structure,
        args.input,
        args.output,
        transfer=args.transfer,
        workers=args.workers,
        progress=_is_shown(args),
    )
    _say(f"{count} frames in {args.output}")
    return 0


def _data_root() -> Path:
    return Path(os.environ.get(DATA_VARIABLE, "data"))


def _parser(name: str, main: Callable[..., int]) -> ArgumentParser:
    """--input, --output, --overwrite and --quiet."""
    files = " and ".join(FILE_NAMES)
    parser = ArgumentParser(name, description=_first_line(main))
    add = parser.add_argument
    add("-i", "--input", type=Path, required=True, metavar="PATH",
        help=f"folder with {files}, or one of them; or a JSON file")  # fmt: skip
    add("-o", "--output", type=Path, required=True, metavar="PATH",
        help="folder for files of the same names, or a file for a file")  # fmt: skip
    add("--overwrite", action="store_true", help="make files anew that are there")
    _add_quiet(parser)
    return parser


def _first_line(main: Callable[..., int]) -> str:
    text = (main.__doc__ or "").partition(": ")[2].strip()
    return f"{text[0].upper()}{text[1:]}"


def _add_quiet(parser: ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_workers(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--workers", type=positive_int, default=available_cpus(), help="number of processes"
    )


def _add_max_hidden(parser: ArgumentParser) -> None:
    parser.add_argument("--max-hidden", type=float, default=MAX_OCCLUDE_RATE, metavar="X",
                        help="objects of which a larger share is hidden are left out")  # fmt: skip


def _is_shown(args: argparse.Namespace) -> bool:
    return not args.quiet and sys.stderr.isatty()


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _notes(out: Path) -> Path:
    """Where an interrupted step leaves what it knows."""
    return out.with_name(f".{out.name}.notes")


def _convert(
    args: argparse.Namespace,
    step: Step,
    place: Callable[[Path, str], Path] = lambda out, name: out / name,
) -> int:
    """Makes a step of a file, or of the files of a folder; finished outputs stay."""
    for source, target in _targets(args.input, args.output, place).items():
        if target.resolve() == source.resolve():
            raise UserError(f"the output {target} would replace its input")
        if target.exists() and not args.overwrite and not _notes(target).exists():
            _say(f"{target} is there and stays; --overwrite makes it anew")
            continue
        for warning in step(source, target):
            sys.stderr.write(f"warning: {source.name}: {warning}\n")
        _say(str(target))
    return 0


def _targets(source: Path, out: Path, place: Callable[[Path, str], Path]) -> dict[Path, Path]:
    """Input file to output file."""
    if source.is_file():
        return {source: out if out.suffix == ".json" else place(out, source.name)}
    names = [name for name in FILE_NAMES if (source / name).is_file()]
    if not names:
        raise UserError(f"{source}: no such file, nor a folder with {' or '.join(FILE_NAMES)}")
    return {source / name: place(out, name) for name in names}
