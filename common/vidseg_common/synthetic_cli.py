"""Command line that writes a synthetic data set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from vidseg_common.arguments import ArgumentParser
from vidseg_common.commands.common import plural, shows_progress
from vidseg_common.errors import ConfigError
from vidseg_common.staging import staged_output
from vidseg_common.synthetic_layouts import LAYOUT_NAMES, write_layout
from vidseg_common.synthetic_render import SyntheticVideo, render
from vidseg_common.synthetic_sampling import make_scene

_SEEDS_PER_RUN = 1_000_003


def build_parser(prog: str = "python -m vidseg_common.synthetic") -> ArgumentParser:
    """Return the flags.

    Args:
        prog: The command as it is typed.
    """
    parser = ArgumentParser(
        prog=prog,
        description="Write procedural videos with exact masks in the layout of a data set.",
    )
    add = parser.add_argument
    add("folder", type=Path, nargs="?", metavar="OUT", help="root folder of the data set")
    add("--out", type=Path, help="the same as OUT")
    add("--layout", default="davis", choices=LAYOUT_NAMES, help="layout")
    add("--split", help="train or val (default: val for davis and youtube-vos, else train)")
    add("--videos", type=_positive, default=10, help="number of videos")
    add("--frames", type=_positive, default=40, help="frames of each video")
    add("--size", type=_size, default=(480, 854), metavar="HxW", help="rows x columns")
    add("--objects", type=_positive, help="annotated objects of each video (default: 1 to 3)")
    add("--seed", type=int, default=0, help="the same seed gives the same data set")
    add("--overwrite", action="store_true", help="replace what is in OUT")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not HxW, such as 480x854") from None
    return height, width


def generate_videos(
    seed: int, num_videos: int, num_frames: int, height: int, width: int, num_objects: int | None
) -> Iterator[SyntheticVideo]:
    """Yield videos whose first frame shows at least one object.

    Args:
        seed: Decides all of them; neighbouring seeds share no video.
        num_videos: How many.
        num_frames: Length of each.
        height: Rows of a frame.
        width: Columns of a frame.
        num_objects: Annotated objects of each; None draws 1 to 3.
    """
    made, candidate = 0, seed * _SEEDS_PER_RUN
    while made < num_videos:
        scene = make_scene(candidate, num_frames, height, width, num_objects)
        candidate += 1
        if render(scene, [0]).visible.any():
            made += 1
            yield render(scene)


def main(
    arguments: Sequence[str] | None = None, *, prog: str = "python -m vidseg_common.synthetic"
) -> int:
    """Write the data set, which appears in its folder only when it is complete.

    Args:
        arguments: Command line without the program, that of the process by default.
        prog: The command as it is typed.

    Returns:
        0, the exit status.

    Raises:
        UserError: Bad input.
        OSError: A file cannot be written.
    """
    options = build_parser(prog).parse_args(arguments)
    out = _folder(options)
    height, width = options.size
    videos = generate_videos(
        options.seed, options.videos, options.frames, height, width, options.objects
    )
    shown = tqdm(videos, total=options.videos, unit="video", disable=not shows_progress(options))
    with staged_output(out, overwrite=options.overwrite) as temporary:
        written = write_layout(options.layout, shown, temporary, split=options.split)
    for warning in written.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    sys.stdout.write(
        f"{plural(options.videos, 'video')} of {plural(options.frames, 'frame')} in {out}\n"
    )
    return 0


def _folder(options: argparse.Namespace) -> Path:
    given = [folder for folder in (options.folder, options.out) if folder is not None]
    if len(given) != 1:
        raise ConfigError("name one folder for the data set: OUT, or --out OUT")
    return given[0]
