"""`stmask predict`: finds, segments and tracks the objects of the user's own video."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from stmask.commands.common import Model, make_predictor, open_model
from stmask.commands.eval_flags import add_network_flags
from stmask.commands.flags import say, share
from stmask.evaluate import NUM_UNTIMED
from stmask.inference.postprocess import FrameResult
from stmask.inference.predictor import Predictor
from stmask.outputs.drawing import DrawOptions, draw_instances
from stmask.outputs.web import WebWriter
from stmask.outputs.youtube_vis import VideoTracks
from stmask.timers import Timers
from vidseg_common.config import ArgumentParser
from vidseg_common.datasets.json_write import write_object
from vidseg_common.download import sha256_of
from vidseg_common.files import OutputLock, check_writable
from vidseg_common.masks import MAX_ID, write_mask
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.own_videos import OwnVideo, add_video_flags, predict_each
from vidseg_common.video import BackgroundWriter, Frame, VideoSink, open_source, write_image

#: Ids count from 0, but 0 is the background of a mask file.
FIRST_ID = 1


def build_parser() -> ArgumentParser:
    """Flags of the command."""
    parser = ArgumentParser("stmask predict", description=__doc__)
    add = parser.add_argument
    add_video_flags(parser)
    add("--model", required=True, help="checkpoint; 'latest' and 'interrupt' look in weights/")
    add_network_flags(parser)
    add("--score_threshold", type=share, default=0.3, help="objects below it are left out")
    add("--top_k", type=positive_int, default=100, help="the most objects in a frame")
    add("--no_overlay", action="store_true", help="write no overlay video")
    add("--web", action="store_true", help="also write web/, a folder for `stmask viewer`")
    add("--max_frames", type=positive_int, help="stop after this many frames")
    add("--num_workers", type=int, default=4, help="frames read ahead in a thread; 0: no thread")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point.

    Raises:
        UserError: flags, weights, video or the output folder are unusable.
    """
    args = build_parser().parse_args(argv)
    model = open_model(args.model, args.config, strict=not args.non_strict)
    weights = {"path": str(model.path), "sha256": sha256_of(model.path)}
    made = functools.cache(lambda: make_predictor(model, args))

    def predict(video: OwnVideo) -> None:
        _predict(args, model, video, *made(), {"weights": weights, "config": model.cfg.name})

    facts = {"weights": weights["sha256"]}
    predict_each(args, predict, method="stmask predict", facts=facts, without=("model",))
    return 0


def _predict(
    args: argparse.Namespace,
    model: Model,
    video: OwnVideo,
    predictor: Predictor,
    timers: Timers,
    facts: Mapping[str, Any],
) -> None:
    """Predicts a video as the flags ask for, and tells what came out."""
    outputs = Outputs(
        video.output,
        model.cfg.classes,
        DrawOptions(args.top_k, args.score_threshold),
        with_overlay=not args.no_overlay,
        with_web=args.web,
    )
    timers.seconds.clear()
    summary = predict_video(
        video.path,
        predictor,
        timers,
        outputs,
        facts=facts,
        max_frames=args.max_frames,
        prefetch=max(0, args.num_workers),
    )
    found = len(summary["objects"])
    say(
        f"{summary['num_frames']} frames, {found} objects",
        *([] if found else ["no object was found: all masks are empty"]),
        timers.table(max(0, summary["num_frames"] - NUM_UNTIMED))[-1],
        f"results in {video.output}",
        *([f"see them with: stmask viewer {video.output / 'web'}"] if args.web else []),
    )


@dataclass(frozen=True)
class Outputs:
    """What is written where.

    Attributes:
        folder: for everything.
        class_names: name of class c at c - 1.
        options: which objects count, and how they are drawn.
        with_overlay: write overlay.mp4.
        with_web: write web/ for the viewer.
    """

    folder: Path
    class_names: Sequence[str]
    options: DrawOptions
    with_overlay: bool = True
    with_web: bool = False

    def kept(self, found: FrameResult) -> FrameResult:
        """The objects that count, best score first, ids from 1."""
        order = np.argsort(-found.scores, kind="stable")[: self.options.top_k]
        # Without an id are second detections of an object.
        rows = order[
            (found.scores[order] >= self.options.score_threshold) & (found.ids[order] >= 0)
        ]
        return FrameResult(
            found.ids[rows] + FIRST_ID,
            found.classes[rows],
            found.scores[rows],
            found.boxes[rows],
            found.masks[rows],
        )


def predict_video(
    video: Path,
    predictor: Predictor,
    timers: Timers,
    outputs: Outputs,
    *,
    facts: Mapping[str, Any] | None = None,
    max_frames: int | None = None,
    prefetch: int = 4,
) -> dict[str, Any]:
    """Segments a video into `masks/*.png`, `overlay.mp4` and `result.json`, frame by frame.

    Args:
        video: file or folder of frames.
        predictor: see `Predictor`; it forgets what it saw before.
        timers: of the predictor; the first frames are not counted.
        outputs: what is written; its folder is in use by one run at a time.
        facts: for the record.
        max_frames: stop early.
        prefetch: frames read ahead.

    Returns:
        What result.json holds.

    Raises:
        UserError: unusable video or output folder.
    """
    check_writable(outputs.folder)
    with (
        OutputLock(outputs.folder),
        open_source(video, max_frames=max_frames, prefetch=prefetch) as source,
    ):
        predictor.reset()
        head = {
            "video": str(video),
            **(facts or {}),
            "height": source.height,
            "width": source.width,
            "video_fps": source.fps,
        }
        bar = tqdm(source, source.name, source.num_frames, unit="frame", disable=None)
        frames, tracks = _write(outputs, _results(bar, predictor, timers), source.fps, source.name)
        summary = {
            **head,
            "num_frames": len(frames),
            "objects": _objects(tracks, len(frames), outputs.class_names),
            "frames": frames,
        }
        write_object(outputs.folder / "result.json", summary)
    return summary


def _results(
    source: Iterable[Frame], predictor: Predictor, timers: Timers
) -> Iterator[tuple[Frame, FrameResult]]:
    """Every frame with what was found in it."""
    for frame in source:
        timers.is_counting = frame.index >= NUM_UNTIMED
        yield frame, predictor.step(frame.image)


def _write(
    outputs: Outputs, results: Iterator[tuple[Frame, FrameResult]], fps: float, name: str
) -> tuple[list[dict[str, Any]], VideoTracks]:
    """Writes masks and pictures; returns what is in each frame, and the tracks."""
    frames: list[dict[str, Any]] = []
    tracks = VideoTracks(1)
    with ExitStack() as stack:
        writer = stack.enter_context(BackgroundWriter())
        show = _Show(outputs, fps, name, writer, stack)
        for frame, found in results:
            kept = outputs.kept(found)
            tracks.add(frame.index, kept)
            path = outputs.folder / "masks" / f"{Path(frame.name).stem}.png"
            writer.submit(write_mask, path, id_map(kept, frame.image.shape[:2]))
            show.add(frame, kept)
            frames.append({"name": frame.name, "time_s": frame.time_s, "objects": _boxes(kept)})
    num_beyond = sum(object_id > MAX_ID for object_id in tracks.ids)
    if num_beyond:
        sys.stderr.write(
            f"warning: {num_beyond} objects are in result.json, but not in masks/: a mask file "
            f"holds ids up to {MAX_ID}\n"
        )
    return frames, tracks


class _Show:
    """Writes overlay.mp4 and web/, as far as they are asked for.

    Args:
        outputs: what is asked for.
        fps: of the video.
        name: of the video, and of the viewer's file.
        writer: of the viewer's images.
        stack: ends the files.
    """

    def __init__(
        self, outputs: Outputs, fps: float, name: str, writer: BackgroundWriter, stack: ExitStack
    ) -> None:
        self._outputs = outputs
        self._writer = writer
        self._web_folder = outputs.folder / "web"
        self._sink: VideoSink | None = None
        self._web: WebWriter | None = None
        if outputs.with_overlay:
            self._sink = stack.enter_context(VideoSink(outputs.folder / "overlay.mp4", fps))
        if outputs.with_web:
            path = self._web_folder / "dets" / f"{name}.json"
            self._web = stack.enter_context(WebWriter(path, {"video": name}, outputs.class_names))

    def add(self, frame: Frame, kept: FrameResult) -> None:
        """Adds a frame."""
        if self._sink is not None:
            names, options = self._outputs.class_names, self._outputs.options
            picture = draw_instances(frame.image, kept, names, options)
            self._sink.write(picture, frame.time_s, frame.duration_s)
        if self._web is not None:
            number = self._web.add(kept)
            path = self._web_folder / "images" / f"{number:012d}.jpg"
            self._writer.submit(write_image, path, frame.image)


def id_map(found: FrameResult, size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Masks as ids; a pixel of several objects goes to the best score.

    Args:
        found: ids from 1; larger ones than a mask file holds are left out.
        size: (H, W).
    """
    ids = np.zeros(size, np.uint8)
    for i in np.argsort(-found.scores, kind="stable")[::-1]:
        if found.ids[i] <= MAX_ID:
            ids[found.masks[i]] = found.ids[i]
    return ids


def _boxes(found: FrameResult) -> dict[str, dict[str, Any]]:
    """Score, area in pixels and box [x, y, w, h] of the objects of a frame, by id."""
    entries = {}
    for i, object_id in enumerate(found.ids.tolist()):
        left, top, right, bottom = found.boxes[i].tolist()
        entries[str(object_id)] = {
            "score": float(found.scores[i]),
            "area": int(found.masks[i].sum()),
            "bbox": [left, top, right - left, bottom - top],
        }
    return entries


def _objects(tracks: VideoTracks, num_frames: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """Class, mean score and masks (run lengths, None where unseen) of every object."""
    objects = []
    for object_id, entry in zip(tracks.ids, tracks.entries(num_frames), strict=True):
        label = entry["category_id"]
        objects.append(
            {
                "id": object_id,
                "category_id": label,
                "category": names[label - 1] if label <= len(names) else None,
                "score": entry["score"],
                "segmentations": entry["segmentations"],
            }
        )
    return objects
