"""Ground truth and predictions of the same videos, matched by number and loaded one at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from vidseg_common.datasets.annotations import AnnotationSet, Clip, Track
from vidseg_common.errors import DatasetError, UserError, list_problems
from vidseg_common.metrics.forked import can_fork, share_jobs

__all__ = ["ClipPair", "left_out", "map_pairs"]

Result = TypeVar("Result")

# Small enough that all workers are busy to the end, large enough that images go in company.
_CHUNKS_PER_WORKER = 8
_MOST_VIDEOS = 64


@dataclass(frozen=True)
class ClipPair:
    """One video.

    Attributes:
        truth: its ground truth.
        predictions: its predicted tracks in the order of the file, all with a finite score.
    """

    truth: Clip
    predictions: Sequence[Track]


@dataclass(frozen=True)
class _Work:
    """What is compared, and how."""

    truth: AnnotationSet
    predictions: AnnotationSet
    function: Callable[[ClipPair], Any]


def map_pairs(
    function: Callable[[ClipPair], Result],
    truth: AnnotationSet,
    predictions: AnnotationSet,
    *,
    workers: int = 1,
    progress: bool = False,
) -> list[Result]:
    """Applies a function to every video of the ground truth.

    Args:
        function: what to do; it may raise a UserError.
        truth: the ground truth.
        predictions: the results; a video that they lack has no predictions.
        workers: number of processes; one where the system cannot fork.
        progress: show a bar on stderr.

    Returns:
        One result per video, in the order of the ground truth.

    Raises:
        DatasetError: there is no ground truth, the predictions are of other videos or have no
            scores, or the function raised a UserError; all problems are listed.
    """
    _raise_all(_problems_of_videos(truth, predictions))
    positions = range(len(truth.videos))
    length = min(max(len(positions) // (workers * _CHUNKS_PER_WORKER), 1), _MOST_VIDEOS)
    chunks = [positions[start : start + length] for start in positions[::length]]
    parts = share_jobs(
        partial(_run_chunk, _Work(truth, predictions, function)),
        chunks,
        [len(chunk) for chunk in chunks],
        workers=workers if can_fork() else 1,
        progress=progress,
        unit="video",
    )
    _raise_all(problem for _, problems in parts for problem in problems)
    return [result for results, _ in parts for result in results]


def left_out(predictions: Iterable[Track], known: Collection[int]) -> Counter[str]:
    """Counts predictions of classes that the ground truth does not have, by what to say of them.

    Args:
        predictions: predicted tracks.
        known: numbers of the classes of the ground truth.
    """
    return Counter(
        f"predictions of category {track.category_id}, which the ground truth lacks, left out"
        for track in predictions
        if track.category_id not in known
    )


def _problems_of_videos(truth: AnnotationSet, predictions: AnnotationSet) -> list[str]:
    if not truth.has_annotations:
        raise DatasetError("the data set has no ground truth, so that nothing can be scored")
    known = {video.id for video in truth.videos}
    problems = [
        f"video {video.id} ({video.name}) is not in the ground truth"
        for video in predictions.videos
        if video.id not in known
    ]
    for name, videos in (("ground truth", truth.videos), ("predictions", predictions.videos)):
        times = Counter(video.id for video in videos)
        problems += [f"the {name} have video {i} {n} times" for i, n in times.items() if n > 1]
    return problems


def _run_chunk(work: _Work, positions: Sequence[int]) -> tuple[list[Any], list[str]]:
    """Results of some videos, and their problems."""
    places = {video.id: place for place, video in enumerate(work.predictions.videos)}
    results, problems = [], []
    for position in positions:
        video = work.truth.videos[position]
        place = places.get(video.id)
        where = f"video {video.id} ({video.name})"
        try:
            tracks = [] if place is None else work.predictions.load(place).tracks
            truth = work.truth.load(position)
            found = [f"{where}: {text}" for text in _problems_of_tracks(truth.tracks, tracks)]
            results.append(None if found else work.function(ClipPair(truth, tracks)))
            problems += found
        except UserError as error:
            problems.append(f"{where}: {error}")
    return results, problems


def _problems_of_tracks(truth: Sequence[Track], tracks: Sequence[Track]) -> list[str]:
    times = Counter(track.id for track in truth)
    problems = [f"annotation id {i} occurs {n} times" for i, n in times.items() if n > 1]
    problems += [
        f"prediction {track.id} has the score {track.score}, expected a finite number"
        for track in tracks
        if track.score is None or not math.isfinite(track.score)
    ]
    return problems


def _raise_all(problems: Iterable[str]) -> None:
    texts = list(problems)
    if texts:
        raise DatasetError(list_problems("ground truth and predictions cannot be compared:", texts))
