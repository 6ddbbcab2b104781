"""`devis predict`: finds, segments and tracks the instances of the user's own video."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from devis.commands.common import PRECISIONS, add_device_flags, add_model_flags, add_overrides
from devis.config import update
from devis.inference.matching import Seen
from devis.inference.predictor import Predictor, VideoResult
from devis.inference.results import TrackResult
from devis.model.segmenter import DeVIS
from devis.outputs.drawing import draw_all, mask_of
from devis.weights import class_names, open_model, require_clips
from vidseg_common import rle
from vidseg_common.commands.common import say
from vidseg_common.config import ArgumentParser
from vidseg_common.datasets.json_write import write_object
from vidseg_common.distributed import select_device
from vidseg_common.download import sha256_of
from vidseg_common.errors import VideoError
from vidseg_common.files import OutputLock, check_writable
from vidseg_common.masks import MAX_ID, write_mask
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.own_videos import OwnVideo, add_video_flags, predict_each
from vidseg_common.video import BackgroundWriter, Frame, VideoSink, open_source

#: How much masks cover the frames of the overlay.
WEIGHT = 0.5


def build_parser() -> ArgumentParser:
    """Flags of the command."""
    parser = ArgumentParser("devis predict", description=__doc__)
    add = parser.add_argument
    add_video_flags(parser)
    add_model_flags(parser)
    add_device_flags(parser)
    add(
        "--score-threshold",
        type=float,
        default=0.5,
        help="tracks, and frames of a track, that score less are left out",
    )
    add("--no-overlay", action="store_true", help="write no overlay video")
    add("--max-frames", type=positive_int, help="stop after this many frames")
    add("--num-workers", type=int, default=4, help="frames read ahead in a thread; 0: no thread")
    add_overrides(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point.

    Raises:
        UserError: flags, weights, video or the output folder are unusable.
    """
    args = build_parser().parse_args(argv)
    network, cfg = open_model(args.model, args.config_file)
    require_clips(cfg, args.model)
    assert isinstance(network, DeVIS)
    tracking = "TEST.CLIP_TRACKING"
    limits = [f"{tracking}.{key}" for key in ("MIN_FRAME_SCORE", "MIN_TRACK_SCORE")]
    words = [word for key in limits for word in (key, args.score_threshold)]
    cfg = update(cfg, [*words, *args.opts])
    weights = {"path": str(args.model), "sha256": sha256_of(args.model)}

    @functools.cache
    def predictor() -> Predictor:
        device = select_device(args.device)
        return Predictor(network.to(device), cfg, device, PRECISIONS[args.precision])

    def predict(video: OwnVideo) -> None:
        before = predictor().times.total
        job = Job(
            video.path,
            video.output,
            class_names(cfg),
            with_overlay=not args.no_overlay,
            max_frames=args.max_frames,
            prefetch=max(0, args.num_workers),
            facts={"weights": weights, "data": cfg.DATASETS.VAL_DATASET},
        )
        summary = predict_video(job, predictor())
        found, seconds = len(summary["objects"]), predictor().times.total - before
        say(
            f"{summary['num_frames']} frames, {found} objects",
            *([] if found else ["no object was found: all masks are empty"]),
            f"{seconds:.1f} s, {summary['num_frames'] / seconds:.2f} frames/s",
            f"results in {video.output}",
        )

    facts = {"weights": weights["sha256"]}
    predict_each(args, predict, method="devis predict", facts=facts, without=("model",))
    return 0


@dataclass(frozen=True)
class Job:
    """A video and what is written of it.

    Attributes:
        video: file or folder of frames.
        output: folder, created; in use by one run at a time.
        names: of the classes.
        with_overlay: write overlay.mp4.
        max_frames: stop early.
        prefetch: frames read ahead.
        facts: for the record.
    """

    video: Path
    output: Path
    names: Mapping[int, str]
    with_overlay: bool = True
    max_frames: int | None = None
    prefetch: int = 4
    facts: Mapping[str, Any] = field(default_factory=dict)

    def name_of(self, label: int) -> str:
        """The name of a class, or its number where it has none."""
        return self.names.get(label, str(label))


def predict_video(job: Job, predictor: Predictor) -> dict[str, Any]:
    """Segments a video into `masks/*.png`, `overlay.mp4` and `result.json`.

    The video is read twice: a track is known when its last frame has been seen.

    Args:
        job: see `Job`.
        predictor: see `Predictor`.

    Returns:
        What result.json holds.

    Raises:
        UserError: unusable video or output folder.
    """
    check_writable(job.output)
    with OutputLock(job.output):
        with open_source(job.video, max_frames=job.max_frames, prefetch=job.prefetch) as source:
            bar = tqdm(source, source.name, source.num_frames, unit="frame", disable=None)
            fps = source.fps
            result = predictor.run(frame.image for frame in bar)
        tracks = sorted(result.tracks, key=lambda track: -track.score)
        with open_source(job.video, max_frames=job.max_frames, prefetch=job.prefetch) as source:
            frames = _write(job, _matched(source, result, job.video), tracks, fps)
        summary = {
            "video": str(job.video),
            **job.facts,
            "height": result.size[0],
            "width": result.size[1],
            "video_fps": fps,
            "num_frames": result.num_frames,
            "objects": [_object(job, i, track) for i, track in enumerate(tracks, start=1)],
            "frames": frames,
        }
        write_object(job.output / "result.json", summary)
    return summary


def _matched(source: Iterator[Frame], result: VideoResult, video: Path) -> Iterator[Frame]:
    """The frames, once more.

    Raises:
        VideoError: the video changed while it was segmented.
    """
    count = 0
    for frame in source:
        if count == result.num_frames or frame.image.shape[:2] != result.size:
            break
        count += 1
        yield frame
    if count != result.num_frames:
        raise VideoError(f"{video}: changed while it was segmented")


def _write(
    job: Job, source: Iterator[Frame], tracks: list[TrackResult], fps: float
) -> list[dict[str, Any]]:
    """Writes masks and overlay; returns what is in each frame."""
    frames: list[dict[str, Any]] = []
    with ExitStack() as stack:
        writer = stack.enter_context(BackgroundWriter())
        sink = None
        if job.with_overlay:
            sink = stack.enter_context(VideoSink(job.output / "overlay.mp4", fps))
        for t, frame in enumerate(source):
            seen = [track.frames[t] for track in tracks]
            path = job.output / "masks" / f"{Path(frame.name).stem}.png"
            writer.submit(write_mask, path, id_map(seen, frame.image.shape[:2]))
            if sink is not None:
                texts = [
                    f"{job.name_of(track.label)} {one.score:.2f}" if one else ""
                    for track, one in zip(tracks, seen, strict=True)
                ]
                picture = draw_all(frame.image, list(zip(seen, texts, strict=True)), WEIGHT)
                sink.write(picture, frame.time_s, frame.duration_s)
            objects = {str(i): _entry(one) for i, one in enumerate(seen, start=1) if one}
            frames.append({"name": frame.name, "time_s": frame.time_s, "objects": objects})
    if len(tracks) > MAX_ID:
        sys.stderr.write(
            f"warning: {len(tracks) - MAX_ID} objects are in result.json, but not in masks/: a "
            f"mask file holds ids up to {MAX_ID}\n"
        )
    return frames


def id_map(seen: Sequence[Seen | None], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Masks as ids; a pixel of several instances goes to the first of them.

    Args:
        seen: of every instance, best first; ids count from 1, those that a mask file does not
            hold are left out.
        size: (H, W).
    """
    ids = np.zeros(size, np.uint8)
    for number in range(min(len(seen), MAX_ID), 0, -1):
        one = seen[number - 1]
        if one is not None:
            ids[mask_of(one)] = number
    return ids


def _entry(seen: Seen) -> dict[str, Any]:
    """Score, area in pixels and box [x, y, w, h] of an instance in a frame."""
    left, top, right, bottom = seen.box
    area = rle.area(seen.mask[0].encoded[seen.mask[1]])
    return {"score": seen.score, "area": area, "bbox": [left, top, right - left, bottom - top]}


def _object(job: Job, number: int, track: TrackResult) -> dict[str, Any]:
    """Class, score and masks (run lengths, None where unseen) of an instance."""
    return {
        "id": number,
        "category_id": track.label,
        "category": job.names.get(track.label),
        "score": track.score,
        "segmentations": track.segmentations(),
    }
