"""J and F of chosen ids in single frames; what the folder and YouTube-VOS evaluators share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidseg_common.errors import DatasetError, MaskError, list_problems
from vidseg_common.masks import object_ids
from vidseg_common.metrics.boundary import count_pair
from vidseg_common.metrics.davis_score import read_pair
from vidseg_common.metrics.parallel import run_jobs, split_items

FrameScores = dict[int, tuple[float, float]]  # object id -> J, F


@dataclass(frozen=True)
class FrameTask:
    """One frame to score.

    Attributes:
        gt: annotation.
        pred: prediction.
        ids: the ids to score; None scores all that occur in either file.
        void: value of the annotation that is taken out of both masks.
    """

    gt: Path
    pred: Path
    ids: tuple[int, ...] | None = None
    void: int | None = None


@dataclass(frozen=True)
class FrameResult:
    """Scores of one frame.

    Attributes:
        scores: J and F per id.
        gt_ids: ids that the annotation shows.
        problem: why the frame could not be scored, None if it was.
    """

    scores: FrameScores
    gt_ids: frozenset[int] = frozenset()
    problem: str | None = None


def score_objects(task: FrameTask) -> FrameResult:
    """Reads both files of a frame once and scores its objects."""
    try:
        pair = read_pair(task.gt, task.pred)
    except MaskError as error:
        return FrameResult({}, problem=str(error))
    values = pair.ids if task.void is None else pair.ids * (pair.gt != task.void)
    gt_ids = frozenset(object_ids(values[0]))
    ids = object_ids(values) if task.ids is None else task.ids
    counts = {i: count_pair(values == i, pair.radius) for i in ids}
    return FrameResult({i: (c.j, c.f) for i, c in counts.items()}, gt_ids)


def score_stretch(tasks: Sequence[FrameTask]) -> list[FrameResult]:
    """Scores frames one after the other; the work of one process."""
    return [score_objects(task) for task in tasks]


def score_videos(
    videos: dict[str, list[FrameTask]], *, workers: int, progress: bool
) -> dict[str, list[FrameResult]]:
    """Scores all frames of all videos.

    Args:
        videos: frames in order of time per video.
        workers: number of processes.
        progress: shows a bar on stderr.

    Raises:
        DatasetError: predictions are missing or files cannot be used; all of them are listed.
    """
    absent = [(v, t.pred) for v, tasks in videos.items() for t in tasks if not t.pred.is_file()]
    raise_all([f"{video}: missing prediction {path}" for video, path in absent])
    total = sum(map(len, videos.values()))
    stretches = [
        (video, stretch)
        for video, tasks in videos.items()
        for stretch in split_items(tasks, total, workers)
    ]
    jobs = [stretch for _, stretch in stretches]
    sizes = [len(stretch) for stretch in jobs]
    done = run_jobs(score_stretch, jobs, sizes, workers=workers, progress=progress)
    results: dict[str, list[FrameResult]] = {video: [] for video in videos}
    for (video, _), part in zip(stretches, done, strict=True):
        results[video] += part
    raise_all([f"{v}: {r.problem}" for v, part in results.items() for r in part if r.problem])
    return results


def raise_all(problems: Sequence[str]) -> None:
    """Raises one error that lists all problems, if there are any.

    Raises:
        DatasetError: there is a problem.
    """
    if problems:
        header = f"the results cannot be scored, {len(problems)} problem(s):"
        raise DatasetError(list_problems(header, problems))
