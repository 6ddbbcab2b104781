"""`stemseg predict`: finds, segments and tracks the objects of the user's own video."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from stemseg.commands.common import (
    DATASETS,
    add_choice_flags,
    add_reading_flags,
    predictor_of,
    say,
)
from stemseg.config import Config, to_dict
from stemseg.drawing import box_of
from stemseg.inference.predictor import Predictor, VideoPrediction
from stemseg.weights import config_of
from vidseg_common.config import ArgumentParser
from vidseg_common.datasets.category_names import standard_categories
from vidseg_common.datasets.mots_files import CLASS_NAMES
from vidseg_common.download import sha256_of
from vidseg_common.errors import VideoError
from vidseg_common.files import OutputLock, check_writable, write_json
from vidseg_common.masks import write_mask
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.own_videos import OwnVideo, add_video_flags, predict_each
from vidseg_common.video import BackgroundWriter, Frame, VideoSink, open_source
from vidseg_common.visualize import overlay


def build_parser() -> ArgumentParser:
    """Flags of the command."""
    parser = ArgumentParser("stemseg predict", description=__doc__)
    add_video_flags(parser)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint")
    parser.add_argument(
        "--dataset",
        "-d",
        choices=tuple(DATASETS),
        help="what the model was trained for; default: config.yaml beside it, else by its keys",
    )
    add_choice_flags(parser)
    add_reading_flags(parser)
    parser.add_argument("--no_overlay", action="store_true", help="write masks only")
    parser.add_argument("--max_frames", type=positive_int, help="stop after this many frames")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point.

    Raises:
        UserError: flags, weights, video or the output folder are unusable.
    """
    args = build_parser().parse_args(argv)
    fallback = None if args.dataset is None else DATASETS[args.dataset][1]
    cfg = config_of(args.model, fallback, opts=args.opts)
    weights = sha256_of(args.model)
    predictor = functools.cache(lambda: predictor_of(args, cfg))

    def predict(video: OwnVideo) -> None:
        summary = predict_video(
            video.path,
            video.output,
            predictor(),
            names=category_names(cfg),
            facts={"weights": {"path": str(args.model), "sha256": weights}},
            draw=not args.no_overlay,
            max_frames=args.max_frames,
            prefetch=args.num_workers,
        )
        found, dropped = len(summary["objects"]), summary["num_dropped"]
        say(
            f"{summary['num_frames']} frames, {found} objects"
            + (f" ({dropped} more than --max_tracks left out)" if dropped else ""),
            *([] if found else ["no object was found: all masks are empty"]),
            *summary["speeds"],
            f"results in {video.output}",
        )

    predict_each(
        args,
        predict,
        method="stemseg predict",
        facts={"weights": weights, "model": to_dict(cfg)["MODEL"]},
        without=("model", "clustering_device", "frame_batch", "clip_batch"),
    )
    return 0


def category_names(cfg: Config) -> dict[int, str]:
    """Names of the classes that a network tells apart."""
    if cfg.TRAINING.MODE == "youtube_vis":
        return {category.id: category.name for category in standard_categories("ytvis2019")}
    return dict(CLASS_NAMES) if cfg.TRAINING.MODE == "kitti_mots" else {}


def predict_video(
    video: Path,
    output: Path,
    predictor: Predictor,
    *,
    names: Mapping[int, str] | None = None,
    facts: Mapping[str, Any] | None = None,
    draw: bool = True,
    max_frames: int | None = None,
    prefetch: int = 8,
) -> dict[str, Any]:
    """Segments a video into `output/masks/*.png`, `overlay.mp4` and `result.json`.

    The video is read twice: objects are ranked by their whole life before a mask is written.

    Args:
        video: file or folder of frames.
        output: created; in use by one run at a time.
        predictor: see `Predictor`.
        names: of the classes.
        facts: for the record.
        draw: write the overlay video.
        max_frames: stop early.
        prefetch: frames read ahead.

    Returns:
        What result.json holds.

    Raises:
        UserError: unusable video or output folder.
    """
    check_writable(output)
    with OutputLock(output):
        with open_source(video, max_frames=max_frames, prefetch=prefetch) as source:
            bar = tqdm(source, source.name, source.num_frames, unit="frame", disable=None)
            size, fps = (source.height, source.width), source.fps
            prediction = predictor.predict(frame.image for frame in bar)
        with open_source(video, max_frames=max_frames, prefetch=prefetch) as source:
            frames = _write(output, _pairs(source, prediction, video), fps, draw=draw)
        summary = {
            "video": str(video),
            **(facts or {}),
            "height": size[0],
            "width": size[1],
            "video_fps": fps,
            "num_frames": len(frames),
            "objects": _objects(prediction, names or {}),
            "num_dropped": prediction.num_dropped,
            "speeds": prediction.times.lines(),
            "times": asdict(prediction.times),
            "frames": frames,
        }
        write_json(output / "result.json", summary)
    return summary


def _pairs(
    source: Iterator[Frame], prediction: VideoPrediction, video: Path
) -> Iterator[tuple[Frame, np.ndarray]]:
    """Every frame with its id map.

    Raises:
        VideoError: the video changed while it was segmented.
    """
    num_read = 0
    for frame, ids in zip(source, prediction.id_maps(), strict=False):
        num_read += 1
        yield frame, ids
    if num_read != prediction.num_frames:
        raise VideoError(f"{video}: changed while it was segmented")


def _objects(prediction: VideoPrediction, names: Mapping[int, str]) -> list[dict[str, Any]]:
    return [
        asdict(found) | {"category": names.get(found.category_id or 0)}
        for found in prediction.objects
    ]


def _write(
    output: Path, pairs: Iterator[tuple[Frame, np.ndarray]], fps: float, *, draw: bool
) -> list[dict[str, Any]]:
    """Writes masks and overlay; returns what is in each frame."""
    frames: list[dict[str, Any]] = []
    with ExitStack() as stack:
        writer = stack.enter_context(BackgroundWriter())
        sink = stack.enter_context(VideoSink(output / "overlay.mp4", fps)) if draw else None
        for frame, ids in pairs:
            path = output / "masks" / f"{Path(frame.name).stem}.png"
            writer.submit(write_mask, path, ids)
            if sink is not None:
                picture = overlay(frame.image, ids, labels=True)
                sink.write(picture, frame.time_s, frame.duration_s)
            boxes = {str(i): _box(ids == i) for i in np.unique(ids[ids > 0]).tolist()}
            frames.append({"name": frame.name, "time_s": frame.time_s, "objects": boxes})
    return frames


def _box(mask: np.ndarray) -> dict[str, Any]:
    """Area in pixels and box [x, y, w, h] of a mask that is not empty."""
    box = box_of(mask)
    assert box is not None
    left, top, right, bottom = box
    return {"area": int(mask.sum()), "bbox": [left, top, right - left, bottom - top]}
