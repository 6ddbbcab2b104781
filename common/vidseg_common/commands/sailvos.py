"""`vidseg sailvos STEP`: from the raw SAIL-VOS annotations to training files, step by step."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from vidseg_common.arguments import ArgumentParser, did_you_mean
from vidseg_common.commands.common import add_quiet_flag, plural, say, shows_progress, warn
from vidseg_common.datasets import sailvos
from vidseg_common.datasets.sailvos_convert import (
    FILE_NAMES,
    convert_folder,
    json_script,
    sailvos2coco,
)
from vidseg_common.datasets.sailvos_cut import create_sailvoscut_fromdict, sailvos2coco_cut
from vidseg_common.datasets.sailvos_kinds import annotation_path, kind_of
from vidseg_common.datasets.sailvos_per_video import MAX_OCCLUDE_RATE, write_per_video
from vidseg_common.errors import UserError
from vidseg_common.metrics.parallel import available_cpus, positive_int

Step = Callable[[Path, Path], list[str]]
Words = Sequence[str] | None


def main(argv: Words = None) -> int:
    """Makes a step.

    Returns:
        0, the exit status.

    Raises:
        UserError: no such step, or bad input; all problems that were met are listed.
        OSError: a file cannot be written.
    """
    words = list(sys.argv[2:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        lines = [f"  {name:10s} {text}" for name, (_, text) in STEPS.items()]
        say("usage: vidseg sailvos STEP ...", "", "steps:", *lines, "",
            "`vidseg sailvos STEP --help` lists a step's flags.")  # fmt: skip
        raise SystemExit(0)
    if words[0] not in STEPS:
        raise UserError(f"unknown step {words[0]!r}{did_you_mean(words[0], STEPS)}")
    return STEPS[words[0]][0](words[1:])


def main_number(argv: Words = None) -> int:
    """Numbers videos and instances of the raw annotations; returns the exit status."""
    options = _parser("number").parse_args(argv)
    return _convert(options, partial(sailvos2coco, progress=shows_progress(options)))


def main_cut(argv: Words = None) -> int:
    """Splits videos where the scene changes; returns the exit status."""
    parser = _parser("cut")
    add = parser.add_argument
    add("--frames", type=Path, required=True, metavar="DIR", help="images are named relative to it")
    add("--frames-out", type=Path, metavar="DIR", help="for the frames of the pieces (the same)")
    add("--transfer", default="none", help="how frames get there",
        choices=["none", "copy", "hardlink", "symlink", "move"])  # fmt: skip
    add("--workers", type=positive_int, default=available_cpus(), help="processes")
    options = parser.parse_args(argv)
    step = partial(
        sailvos2coco_cut,
        frames=options.frames,
        frames_out=options.frames_out,
        transfer=options.transfer,
        workers=options.workers,
        progress=shows_progress(options),
    )
    return _convert(options, step)


def main_kind(argv: Words = None) -> int:
    """Makes the annotations of a kind; returns the exit status."""
    parser = _parser("kind")
    add = parser.add_argument
    add("--kind", required=True, choices=["amodal", "visible", "joint"], help="masks")
    add("--bbox", choices=["amdl", "visb", "both"], help="boxes of joint (amdl)")
    _add_max_hidden(parser)
    options = parser.parse_args(argv)
    kind = kind_of(options.kind, options.bbox)

    def step(source: Path, out: Path) -> list[str]:
        progress, max_rate = shows_progress(options), options.max_hidden
        return json_script(source, out, kind=str(kind), max_rate=max_rate, progress=progress)

    return _convert(options, step, lambda out, name: annotation_path(out, Path(name).stem, kind))


def main_per_video(argv: Words = None) -> int:
    """Makes the ground truth of the video-level AP; returns the exit status."""
    parser = _parser("per-video")
    parser.add_argument("--masks", default="visible", choices=["visible", "amodal"], help="which")
    _add_max_hidden(parser)
    options = parser.parse_args(argv)

    def step(source: Path, out: Path) -> list[str]:
        data = sailvos.read(source, progress=shows_progress(options))
        write_per_video(data, out, masks=options.masks, max_rate=options.max_hidden)
        return []

    return _convert(options, step)


def main_frames(argv: Words = None) -> int:
    """Makes the frames of SAIL-VOS-cut from the list of the split; returns the exit status."""
    parser = ArgumentParser("vidseg sailvos frames", description=_description("frames"))
    add = parser.add_argument
    add("structure", type=Path, metavar="LIST", help="sailvos_cut_structure.json")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="for the frames; those "
        "that are there stay")  # fmt: skip
    add("--frames", type=Path, required=True, metavar="DIR", help="of VIDEO/images/FRAME")
    add("--transfer", default="copy", choices=["copy", "hardlink", "symlink"], help="how")
    add("--workers", type=positive_int, default=available_cpus(), help="processes")
    add_quiet_flag(parser)
    options = parser.parse_args(argv)
    number = create_sailvoscut_fromdict(
        options.structure,
        options.frames,
        options.output,
        transfer=options.transfer,
        workers=options.workers,
        progress=shows_progress(options),
    )
    say(f"{plural(number, 'frame')} in {options.output}")
    return 0


STEPS: dict[str, tuple[Callable[[Words], int], str]] = {
    "number": (main_number, "number videos and instances of the raw annotations"),
    "cut": (main_cut, "split the videos of numbered annotations where the scene changes"),
    "kind": (main_kind, "make amodal, visible or joint annotations of numbered or cut ones"),
    "per-video": (main_per_video, "make the ground truth of the video-level AP of any kind"),
    "frames": (main_frames, "make the frames of SAIL-VOS-cut from the list of the split"),
}
"""What makes each step, and one line of help."""


def _description(step: str) -> str:
    text = STEPS[step][1]
    return f"{text[0].upper()}{text[1:]}."


def _parser(step: str) -> ArgumentParser:
    """Source, output, --overwrite and --quiet."""
    files = " and ".join(FILE_NAMES)
    parser = ArgumentParser(f"vidseg sailvos {step}", description=_description(step))
    add = parser.add_argument
    add("source", type=Path, metavar="SRC", help=f"a JSON file, or a folder with {files}")
    add("-o", "--output", type=Path, required=True, metavar="DST", help="file or folder to write")
    add("--overwrite", action="store_true", help="replace files at DST")
    add_quiet_flag(parser)
    return parser


def _add_max_hidden(parser: ArgumentParser) -> None:
    parser.add_argument("--max-hidden", type=float, default=MAX_OCCLUDE_RATE, metavar="X",
                        help="objects that are hidden more are left out")  # fmt: skip


def _convert(
    options: argparse.Namespace,
    step: Step,
    place: Callable[[Path, str], Path] = lambda out, name: out / name,
) -> int:
    """Makes a step of one file, or of both files of a folder, whose outputs `place` names."""
    source, out = options.source, options.output
    if not source.exists():
        raise UserError(f"nothing at {source}")
    names = FILE_NAMES if source.is_dir() else ()
    targets = {source / name: place(out, name) for name in names} or {source: out}
    for target in targets.values():
        if target.resolve() in {path.resolve() for path in targets}:
            raise UserError(f"the output {target} would replace an input")
        if target.exists() and not options.overwrite:
            raise UserError(f"the output {target} exists; choose another name or use --overwrite")
    if names:
        warn(convert_folder(lambda path, _: step(path, targets[path]), source, out))
    else:
        warn(step(source, out))
    say(*map(str, targets.values()))
    return 0
