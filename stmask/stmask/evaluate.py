"""Runs a data set through a predictor, frame by frame; results go where they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from stmask.benchmark_data import EvalSet, check_images
from stmask.inference.postprocess import FrameResult
from stmask.inference.predictor import Predictor
from stmask.outputs.youtube_vis import VideoTracks
from stmask.timers import Timers
from vidseg_common.datasets.annotations import Video
from vidseg_common.datasets.json_write import write_list
from vidseg_common.errors import DatasetError, VideoError
from vidseg_common.finished import FinishedVideos
from vidseg_common.video import open_source

NUM_UNTIMED = 2
"""Images at the start whose time is not counted."""

OnFrame = Callable[[Video, int, np.ndarray, FrameResult], None]
"""Gets video, number of the frame, the frame (RGB) and what was found in it."""


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        chosen: the data set, its videos in the order of inference.
        max_images: stop after so many images; None runs all.
        prefetch: frames read ahead in a thread.
        progress: show a bar on stderr.
        on_frame: called for every frame that is run, such as to draw it.
        finished: keeps the results of videos that are through, and has those of an earlier run,
            which are not run again; None keeps nothing.
    """

    chosen: EvalSet
    max_images: int | None = None
    prefetch: int = 4
    progress: bool = True
    on_frame: tuple[OnFrame, ...] = ()
    finished: FinishedVideos | None = None


@dataclass
class Stats:
    """What happened.

    Attributes:
        num_images: images that were run.
        num_timed: images whose time was counted.
        num_objects: tracks found.
        num_kept: videos that an earlier run had finished.
        is_complete: every frame of the data set was run.
        empty: names of videos without any object.
    """

    num_images: int = 0
    num_timed: int = 0
    num_objects: int = 0
    num_kept: int = 0
    is_complete: bool = True
    empty: list[str] = field(default_factory=list)


def evaluate(plan: Plan, predictor: Predictor, timers: Timers, results: Path | None) -> Stats:
    """Segments the videos of a data set.

    Args:
        plan: see `Plan`.
        predictor: segments; it gets the timers as its `timer` to measure its own parts.
        timers: measure the whole.
        results: the submission, which appears when everything has run; None writes none.

    Raises:
        DatasetError: a frame is missing, cannot be read or has another size than the data set
            states.
    """
    stats = Stats()
    check_images(plan.chosen, _needed(plan))
    if results is None:
        for _ in _run(plan, predictor, timers, stats, keep_masks=False):
            pass
    else:
        write_list(results, _run(plan, predictor, timers, stats, keep_masks=True))
        if plan.finished is not None:
            plan.finished.remove()
    return stats


def _needed(plan: Plan) -> list[Video]:
    """The videos whose frames the limit lets through."""
    videos, left = [], plan.max_images
    for video in plan.chosen.data.videos:
        if left is not None and left <= 0:
            break
        videos.append(video)
        left = None if left is None else left - video.num_frames
    return videos


def _run(
    plan: Plan, predictor: Predictor, timers: Timers, stats: Stats, *, keep_masks: bool
) -> Iterator[dict[str, Any]]:
    """Runs the frames; what the submission holds about a video follows when it is through."""
    videos = _needed(plan)
    total = sum(video.num_frames for video in videos)
    num_wanted = total if plan.max_images is None else min(total, plan.max_images)
    every = sum(video.num_frames for video in plan.chosen.data.videos)
    stats.is_complete = num_wanted == every
    num_left = num_wanted
    # disable=None: no bar where nobody looks.
    disable = None if plan.progress else True
    with tqdm(total=num_wanted, unit="frame", disable=disable) as bar:
        for video in videos:
            if plan.finished is not None and video.id in plan.finished:
                yield from _kept(plan.finished, video, stats)
                num_left -= video.num_frames
                bar.update(video.num_frames)
                continue
            tracks = VideoTracks(video.id, plan.chosen.category_ids)
            seen: set[int] = set()
            num_run = 0
            with closing(_results(plan, predictor, timers, video, stats)) as frames:
                for t, image, found in frames:
                    seen.update(found.ids.tolist())
                    if keep_masks:
                        with timers("Postprocess"):
                            tracks.add(t, found)
                    for on_frame in plan.on_frame:
                        on_frame(video, t, image, found)
                    bar.update()
                    num_left -= 1
                    num_run += 1
                    if not num_left:
                        break
            stats.num_objects += len(seen)
            if not seen:
                stats.empty.append(video.name)
            entries = tracks.entries(video.num_frames)
            # The limit may have cut the last one short.
            if plan.finished is not None and num_run == video.num_frames:
                plan.finished.add(video.id, entries)
            yield from entries


def _kept(finished: FinishedVideos, video: Video, stats: Stats) -> list[dict[str, Any]]:
    """What an earlier run found in a video."""
    entries = finished.entries(video.id)
    stats.num_kept += 1
    stats.num_objects += len(entries)
    if not entries:
        stats.empty.append(video.name)
    return entries


def _results(
    plan: Plan, predictor: Predictor, timers: Timers, video: Video, stats: Stats
) -> Generator[tuple[int, np.ndarray, FrameResult], None, None]:
    """Number, image and result of the frames of a video."""
    predictor.reset()
    with closing(_frames(plan, video)) as frames:
        for t in range(video.num_frames):
            timers.is_counting = stats.num_images >= NUM_UNTIMED
            with timers("Load Data"):
                image = next(frames)
            found = predictor.step(image)
            stats.num_images += 1
            stats.num_timed += timers.is_counting
            yield t, image, found


def _frames(plan: Plan, video: Video) -> Generator[np.ndarray, None, None]:
    """Frames of a video (RGB), in the size that the annotation file states."""
    try:
        with open_source(plan.chosen.paths(video), prefetch=plan.prefetch) as source:
            if (source.height, source.width) != (video.height, video.width):
                raise DatasetError(
                    f"{plan.chosen.file}: video {video.id}, height and width: "
                    f"{video.width}x{video.height}, but its frames are "
                    f"{source.width}x{source.height}"
                )
            for frame in source:
                yield frame.image
    except VideoError as error:
        raise VideoError(f"video {video.id} ({video.name}): {error}") from error
