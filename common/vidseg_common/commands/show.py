"""`vidseg show`: annotations or results drawn over the frames."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vidseg_common.arguments import ArgumentParser
from vidseg_common.background import write_image
from vidseg_common.clip_pictures import draw_frame, matching_colors
from vidseg_common.commands.common import (
    add_data_flags,
    add_truth_flags,
    open_data,
    open_truth,
    plural,
    say,
    shows_progress,
    warn,
    warn_of_others,
)
from vidseg_common.conversion import select_videos
from vidseg_common.datasets.annotations import AnnotationSet, Clip
from vidseg_common.errors import UserError
from vidseg_common.staging import staged_output
from vidseg_common.video_sinks import VideoSink
from vidseg_common.visualize import Rgb, contact_sheet, side_by_side

_FORMS = ("mp4", "png", "sheet")


def build_parser() -> ArgumentParser:
    """The flags."""
    parser = ArgumentParser("vidseg show", description="Draw annotations or results over frames.")
    add_data_flags(parser, "annotation file or folder, or results")
    add_truth_flags(parser, "ground truth, drawn beside the results")
    add = parser.add_argument
    add("-o", "--output", type=Path, required=True, metavar="OUT",
        help="NAME.mp4, or NAME.jpg for a contact sheet, of one video; else a folder")  # fmt: skip
    add("--as", dest="form", choices=_FORMS, default="mp4",
        help="what a folder gets per video: a video, every frame, or a contact sheet")  # fmt: skip
    add("--videos", nargs="+", metavar="NAME", help="only these videos")
    add("--min-score", type=float, default=0.3, metavar="X", help="leave out worse predictions")
    add("--fps", type=float, default=6.0, metavar="X", help="frames per second of videos")
    add("--frames", type=int, default=8, metavar="N", help="frames of a contact sheet")
    add("--alpha", type=float, default=0.5, metavar="X", help="strength of the colours, 0 to 1")
    add("--labels", action="store_true", help="write the number of each object into it")
    add("--amodal", action="store_true", help="draw whole masks where they are known")
    add("--overwrite", action="store_true", help="replace what is at OUT")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Draws.

    Returns:
        0, the exit status.

    Raises:
        UserError: the data cannot be read, or the output is not empty.
        OSError: a file cannot be written.
    """
    options = build_parser().parse_args(argv)
    truth = open_truth(options)
    data, _ = open_data(
        options, options.path, name=options.format, images=options.images, truth=truth
    )
    warn_of_others(data)
    if options.videos:
        data = select_videos(data, options.videos)
        truth = None if truth is None else select_videos(truth, options.videos)
    if not data.videos:
        raise UserError(f"{options.path} has no video to draw")
    if data.image_root is None and (truth is None or truth.image_root is None):
        warn(["no folder of images is known (--images DIR): drawn over grey"])
    inputs = (options.path, options.images, options.gt, data.image_root)
    with staged_output(options.output, overwrite=options.overwrite, inputs=inputs) as temporary:
        number = _draw_all(data, truth, temporary, options)
    say(f"{plural(number, 'video')} in {options.output}")
    return 0


def _draw_all(
    data: AnnotationSet, truth: AnnotationSet | None, out: Path, options: argparse.Namespace
) -> int:
    suffix = out.suffix.lower()
    if suffix in (".mp4", ".png", ".jpg"):
        if len(data.videos) != 1:
            raise UserError(
                f"{plural(len(data.videos), 'video')} do not fit into one file; choose one with "
                "--videos NAME, or name a folder"
            )
        _draw(data, truth, 0, out, "mp4" if suffix == ".mp4" else "sheet", options)
        return 1
    ending = {"mp4": ".mp4", "png": "", "sheet": ".jpg"}[options.form]
    places = range(len(data.videos))
    for i in tqdm(places, unit="video", disable=not shows_progress(options), leave=False):
        _draw(data, truth, i, out / f"{data.videos[i].name}{ending}", options.form, options)
    return len(data.videos)


def _draw(
    data: AnnotationSet,
    truth: AnnotationSet | None,
    position: int,
    out: Path,
    form: str,
    options: argparse.Namespace,
) -> None:
    clip = data.load(position)
    if 0 in (clip.video.height, clip.video.width, clip.video.num_frames):
        raise UserError(
            f"video {clip.video.name} cannot be drawn: it has neither masks nor images (--images "
            "DIR) that tell its size and length"
        )
    real = None if truth is None else _same_video(truth, clip)
    num_frames = clip.video.num_frames
    if form == "sheet":
        chosen = np.unique(np.linspace(0, num_frames - 1, max(1, options.frames)).round())
        indices = [int(i) for i in chosen]
        pictures = list(_pictures(data, truth, clip, real, indices, options))
        captions = [Path(clip.video.file_names[i]).stem for i in indices]
        columns = 4 if real is None else 2
        write_image(out, contact_sheet(pictures, columns, captions=captions, cell_width=640))
        return
    frames = _pictures(data, truth, clip, real, range(num_frames), options)
    if form == "mp4":
        with VideoSink(out, options.fps) as sink:
            for picture in frames:
                sink.write(picture)
        return
    for name, picture in zip(clip.video.file_names, frames, strict=True):
        write_image(out / f"{Path(name).stem}.png", picture)


def _same_video(truth: AnnotationSet, clip: Clip) -> Clip:
    for position, video in enumerate(truth.videos):
        if video.name == clip.video.name:
            return truth.load(position)
    raise UserError(f"the ground truth has no video {clip.video.name}")


def _pictures(
    data: AnnotationSet,
    truth: AnnotationSet | None,
    clip: Clip,
    real: Clip | None,
    indices: Sequence[int],
    options: argparse.Namespace,
) -> Iterator[Rgb]:
    """Frames with their objects, beside the ground truth where there is one."""
    style = {"alpha": options.alpha, "labels": options.labels, "amodal": options.amodal}
    colors = None if real is None else matching_colors(real, clip, options.min_score)
    for t in indices:
        rooted = data if data.image_root is not None or truth is None else truth
        drawn = draw_frame(rooted, clip, t, colors=colors, min_score=options.min_score, **style)
        if real is None or truth is None:
            yield drawn
        else:
            beside = draw_frame(truth, real, t, **style)
            yield side_by_side([beside, drawn], captions=["ground truth", "results"])
