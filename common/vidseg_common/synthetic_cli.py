"""Command line that writes a synthetic data set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from vidseg_common.config import ArgumentParser
from vidseg_common.files import OutputLock, check_writable
from vidseg_common.synthetic_render import SyntheticVideo, render
from vidseg_common.synthetic_sampling import make_scene
from vidseg_common.synthetic_writers import write_davis, write_youtube_vos

_SEEDS_PER_RUN = 1_000_003


def build_parser() -> ArgumentParser:
    """Return the flags."""
    parser = ArgumentParser(
        prog="python -m vidseg_common.synthetic",
        description="Write procedural videos with exact masks in the layout of a data set.",
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="root folder of the data set")
    add("--layout", default="davis", choices=["davis", "davis2016", "youtube-vos"], help="layout")
    add("--split", help="train, val (davis) or train, valid (youtube-vos)")
    add("--videos", type=_positive, default=10, help="number of videos")
    add("--frames", type=_positive, default=40, help="frames of each video")
    add("--size", type=_size, default=(480, 854), metavar="HxW", help="rows x columns")
    add("--objects", type=_positive, help="annotated objects of each video (default: 1 to 3)")
    add("--seed", type=int, default=0, help="the same seed gives the same data set")
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the data set.

    Args:
        arguments: Command line without the program, that of the process by default.

    Returns:
        0, the exit status.

    Raises:
        UserError: Bad input.
        OSError: A file cannot be written.
    """
    options = build_parser().parse_args(arguments)
    out = check_writable(options.out)
    height, width = options.size
    videos = generate_videos(
        options.seed, options.videos, options.frames, height, width, options.objects
    )
    shown = tqdm(videos, total=options.videos, unit="video", disable=options.quiet)
    with OutputLock(out):
        if options.layout == "youtube-vos":
            names = write_youtube_vos(shown, out, options.split or "valid")
        else:
            year = 2016 if options.layout == "davis2016" else 2017
            names = write_davis(shown, out, year=year, split=options.split or "val")
    sys.stdout.write(f"{len(names)} videos of {options.frames} frames in {out}\n")
    return 0
