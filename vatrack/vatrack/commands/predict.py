"""`vatrack predict`: finds, segments and tracks the objects of the user's own video."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vatrack.commands.common import add_config_flags, add_network_flags, make_predictor
from vatrack.config import load_config
from vatrack.inference.predictor import Predictor
from vatrack.inference.results import FrameResult
from vatrack.outputs.annotations import clip_of
from vatrack.outputs.drawing import draw_joint, shown_rows
from vatrack.outputs.result_json import track_entry
from vatrack.weights import open_model
from vidseg_common import rle
from vidseg_common.arguments import ArgumentParser
from vidseg_common.commands.common import say, warn
from vidseg_common.datasets.annotations import Category, Video
from vidseg_common.datasets.json_write import write_object
from vidseg_common.download import sha256_of
from vidseg_common.files import OutputLock, check_writable
from vidseg_common.masks import MAX_ID, write_mask
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.own_videos import OwnVideo, add_video_flags, predict_each
from vidseg_common.rle import RLE
from vidseg_common.video import BackgroundWriter, Frame, VideoSink, open_source


def build_parser() -> ArgumentParser:
    """Flags of the command."""
    parser = ArgumentParser("vatrack predict", description=__doc__)
    add = parser.add_argument
    add_video_flags(parser)
    add("--checkpoint", "--model", type=Path, required=True, metavar="FILE", help="weights")
    add_config_flags(
        parser,
        None,
        "; default: that of the published file, else what the weights fit",
    )
    add_network_flags(parser)
    add(
        "--score-threshold",
        type=float,
        default=0.5,
        metavar="SCORE",
        help="objects are left out of the frames in which they score no more",
    )
    add("--visible-within-amodal", action="store_true", help="cut visible masks at the amodal ones")
    add("--no-overlay", action="store_true", help="write no overlay video")
    add("--max-frames", type=positive_int, metavar="N", help="stop after this many frames")
    add("--num-workers", type=int, default=4, help="frames read ahead in a thread; 0: no thread")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point.

    Raises:
        UserError: flags, weights, video or the output folder are unusable.
    """
    args = build_parser().parse_args(argv)
    options = list(args.cfg_options)
    asked = args.config is not None
    if not asked and (options or args.backbone):
        build_parser().error("--cfg-options and --backbone go with --config")
    cfg = load_config(args.config, options, backbone=args.backbone) if asked else None
    model = open_model(args.checkpoint, cfg)
    if args.visible_within_amodal:
        model = model.cut_visible()
    predictor = functools.cache(lambda: make_predictor(model, args))
    weights = {"path": str(args.checkpoint), "sha256": sha256_of(args.checkpoint)}

    def predict(video: OwnVideo) -> None:
        job = Job(
            video.path,
            video.output,
            model.classes,
            threshold=args.score_threshold,
            with_overlay=not args.no_overlay,
            max_frames=args.max_frames,
            prefetch=max(0, args.num_workers),
            facts={"weights": weights},
        )
        summary = predict_video(job, predictor())
        found = len(summary["tracks"])
        say(
            f"{summary['num_frames']} frames, {found} objects",
            *([] if found else ["no object was found: all masks are empty"]),
            f"results in {video.output}",
        )

    facts = {"weights": weights["sha256"]}
    predict_each(args, predict, method="vatrack predict", facts=facts, without=("checkpoint",))
    return 0


@dataclass(frozen=True)
class Job:
    """A video and what is written of it.

    Attributes:
        video: file or folder of frames.
        output: folder, created; in use by one run at a time.
        classes: names, in the order of labels.
        threshold: objects that score no more in a frame are left out of it.
        with_overlay: write overlay.mp4.
        max_frames: stop early.
        prefetch: frames read ahead.
        facts: for the record.
    """

    video: Path
    output: Path
    classes: Sequence[str]
    threshold: float = 0.5
    with_overlay: bool = True
    max_frames: int | None = None
    prefetch: int = 4
    facts: Mapping[str, Any] = field(default_factory=dict)


def predict_video(job: Job, predictor: Predictor) -> dict[str, Any]:
    """Segments a video into `masks/KIND/*.png`, `overlay.mp4` and `result.json`.

    Args:
        job: see `Job`.
        predictor: see `Predictor`.

    Returns:
        What result.json holds.

    Raises:
        UserError: unusable video or output folder.
    """
    check_writable(job.output)
    with OutputLock(job.output), ExitStack() as stack:
        source = stack.enter_context(
            open_source(job.video, max_frames=job.max_frames, prefetch=job.prefetch)
        )
        writer = stack.enter_context(BackgroundWriter())
        sink = None
        if job.with_overlay:
            sink = stack.enter_context(VideoSink(job.output / "overlay.mp4", source.fps))
        output = _Output(job, writer, sink)
        bar = tqdm(source, source.name, source.num_frames, unit="frame", disable=None)
        predictor.reset()
        for frame in bar:
            output.add(frame, predictor.step(frame.image))
        fps, size = source.fps, (source.height, source.width)
    summary = output.summary(fps, size)
    write_object(job.output / "result.json", summary)
    if len(output.numbers) > MAX_ID:
        warn([
            f"{len(output.numbers) - MAX_ID} objects are in result.json, but not in masks/: a mask "
            f"file holds ids up to {MAX_ID}"
        ])  # fmt: skip
    return summary


class _Output:
    """Writes frame by frame, and keeps what result.json needs.

    Args:
        job: what is written.
        writer: for masks.
        sink: for the overlay.
    """

    def __init__(self, job: Job, writer: BackgroundWriter, sink: VideoSink | None) -> None:
        self.job, self.writer, self.sink = job, writer, sink
        #: Number of a track of the network to that in the results, from 1 as they appear.
        self.numbers: dict[int, int] = {}
        self.shown: list[FrameResult] = []
        self.frames: list[dict[str, Any]] = []

    def add(self, frame: Frame, found: FrameResult) -> None:
        """Writes what was found in a frame."""
        kept = self._kept(found)
        self.shown.append(kept)
        self.frames.append({"name": frame.name, "time_s": frame.time_s})
        for kind, masks in (("visible", kept.visible_masks), ("amodal", kept.amodal_masks)):
            if masks is not None:
                path = self.job.output / "masks" / kind / f"{Path(frame.name).stem}.png"
                self.writer.submit(write_mask, path, id_map(kept.ids.tolist(), masks, kept.size))
        if self.sink is not None:
            picture = draw_joint(frame.image, kept, self.job.classes, self.job.threshold)
            self.sink.write(picture, frame.time_s, frame.duration_s)

    def _kept(self, found: FrameResult) -> FrameResult:
        """The tracks that are shown, with the numbers of the results."""
        rows = shown_rows(found, self.job.threshold)
        ids = [self.numbers.setdefault(int(found.ids[i]), len(self.numbers) + 1) for i in rows]
        return found.select(rows, np.array(ids, np.int64))

    def summary(self, fps: float, size: tuple[int, int]) -> dict[str, Any]:
        """What result.json holds."""
        names = self.job.classes
        categories = [Category(i, name) for i, name in enumerate(names, start=1)]
        files = tuple(entry["name"] for entry in self.frames)
        clip = clip_of(Video(1, self.job.video.stem, *size, files), self.shown, categories)
        tracks = [
            {**track_entry(track), "category": names[track.category_id - 1]}
            for track in clip.tracks
        ]
        return {
            "video": str(self.job.video),
            **self.job.facts,
            "height": size[0],
            "width": size[1],
            "video_fps": fps,
            "num_frames": len(self.frames),
            "tracks": tracks,
            "frames": self.frames,
        }


def id_map(ids: Sequence[int], masks: Sequence[RLE], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Masks as ids; a pixel of several objects goes to the first of them.

    Args:
        ids: of every object, best first; those that a mask file does not hold are left out.
        masks: of every object.
        size: (H, W).
    """
    picture = np.zeros(size, np.uint8)
    for number, mask in _last_first(ids, masks):
        picture[rle.decode(mask)] = number
    return picture


def _last_first(ids: Sequence[int], masks: Sequence[RLE]) -> Iterator[tuple[int, RLE]]:
    pairs = zip(reversed(ids), reversed(masks), strict=True)
    return ((number, mask) for number, mask in pairs if number <= MAX_ID)
