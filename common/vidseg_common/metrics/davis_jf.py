"""J&F of DAVIS 2016 and 2017, semi-supervised and unsupervised, equal to the official tool.

    python -m vidseg_common.metrics.davis_jf --davis_path DIR --results_path DIR --set val

Where the official tool crashes, guesses or leaves with status 0, this one says what is wrong,
all of it at once. Source: spec common sections 4.1-4.5 and 4.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from vidseg_common.errors import DatasetError, MaskError, list_problems
from vidseg_common.masks import VOID, object_ids, read_indices
from vidseg_common.metrics.boundary import jf_frame
from vidseg_common.metrics.davis_score import (
    MAX_PROPOSALS,
    Mode,
    ScoreChunk,
    ScoreJob,
    score_chunk,
)
from vidseg_common.metrics.jf_result import JFResult, JFRow, row_of
from vidseg_common.metrics.parallel import run_jobs, split_items

__all__ = ["JFResult", "JFRow", "evaluate_davis", "jf_frame"]

Task = Literal["semi-supervised", "unsupervised"]
FramePair = tuple[Path, Path]


@dataclass(frozen=True)
class _Plan:
    """What to score of one sequence: objects 1..num_objects in these frames."""

    sequence: str
    pairs: tuple[FramePair, ...]
    num_objects: int


def evaluate_davis(
    gt_root: str | Path,
    results_root: str | Path,
    sequences: Sequence[str],
    *,
    task: Task = "semi-supervised",
    binary: bool = False,
    workers: int = 1,
    progress: bool = True,
) -> JFResult:
    """Scores the results of a set of sequences.

    Semi-supervised: objects keep their ids, first and last frame are left out, 255 in the
    annotation is background. Unsupervised: all frames, 255 is void, predicted ids are assigned
    to objects so that the mean of J and F is highest.

    Args:
        gt_root: annotations, `SEQUENCE/NNNNN.png`.
        results_root: predictions of the same names.
        sequences: which sequences.
        task: the protocol.
        binary: all ids are one object, in the annotation too, as DAVIS 2016 has it.
        workers: number of processes.
        progress: shows a progress bar on stderr.

    Raises:
        DatasetError: anything missing, unreadable, of another size, or an id that the protocol
            does not allow; one error lists all problems.
    """
    if binary and task != "semi-supervised":
        raise DatasetError("DAVIS 2016 (all ids as one object) has no unsupervised protocol")
    gt_root, results_root = Path(gt_root), Path(results_root)
    plans, problems = _plan_all(gt_root, results_root, sequences, task, binary)
    _raise_all(problems)
    mode: Mode = "binary" if binary else "objects" if task == "semi-supervised" else "proposals"
    jobs = _cut(plans, mode, workers)
    sizes = [len(job.pairs) for job in jobs]
    chunks = run_jobs(score_chunk, jobs, sizes, workers=workers, progress=progress)
    scores = _collect(plans, jobs, chunks)
    rows: list[JFRow] = []
    for plan, frames in zip(plans, scores, strict=True):
        rows += _rows_of_proposals(plan, frames) if mode == "proposals" else _rows(plan, frames)
    # In DAVIS 2016 the one object has any value, there is no id to look for.
    warnings = [] if binary else _never_seen(plans, rows)
    return JFResult(task, tuple(rows), tuple(warnings))


def _plan_all(
    gt_root: Path, results_root: Path, sequences: Sequence[str], task: Task, binary: bool
) -> tuple[list[_Plan], list[str]]:
    plans: list[_Plan] = []
    problems: list[str] = []
    if not sequences:
        problems.append("no sequence to evaluate")
    for sequence in sequences:
        try:
            pairs = _pairs_of(gt_root / sequence, results_root / sequence, task)
            num_objects = 1 if binary else _count_objects(gt_root / sequence)
        except (DatasetError, MaskError) as error:
            problems.append(f"{sequence}: {error}")
            continue
        plans.append(_Plan(sequence, pairs, num_objects))
        missing = [pred for _, pred in pairs if not pred.is_file()]
        if len(missing) == len(pairs):
            problems.append(f"{sequence}: no results at all in {results_root / sequence}")
        else:
            problems += [f"{sequence}: missing prediction {path}" for path in missing]
    return plans, problems


def _annotations(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.glob("*.png") if not path.name.startswith("."))
    if not paths:
        raise DatasetError(f"no annotation (*.png) in {folder}")
    return paths


def _pairs_of(gt_folder: Path, results_folder: Path, task: Task) -> tuple[FramePair, ...]:
    paths = _annotations(gt_folder)
    if task == "semi-supervised":
        if len(paths) < 3:
            raise DatasetError(
                f"{len(paths)} annotated frame(s) in {gt_folder}; the first and the last are "
                "not evaluated, so at least 3 are needed"
            )
        paths = paths[1:-1]
    return tuple((path, results_folder / path.name) for path in paths)


def _count_objects(gt_folder: Path) -> int:
    """Largest id of the first annotation; void is no object."""
    first = _annotations(gt_folder)[0]
    ids = read_indices(first)
    count = int(ids[ids != VOID].max(initial=0))
    if not count:
        raise DatasetError(f"no object in the first annotation {first}")
    return count


def _cut(plans: Sequence[_Plan], mode: Mode, workers: int) -> list[ScoreJob]:
    total = sum(len(plan.pairs) for plan in plans)
    return [
        ScoreJob(plan.sequence, tuple(pairs), plan.num_objects, mode)
        for plan in plans
        for pairs in split_items(plan.pairs, total, workers)
    ]


def _collect(
    plans: Sequence[_Plan], jobs: Sequence[ScoreJob], chunks: Sequence[ScoreChunk]
) -> list[list[NDArray[np.float64]]]:
    """Joins the chunks of every sequence; raises all their problems together."""
    frames: dict[str, list[NDArray[np.float64]]] = {plan.sequence: [] for plan in plans}
    largest: dict[str, tuple[int, Path]] = {}
    problems: list[str] = []
    for job, chunk in zip(jobs, chunks, strict=True):
        frames[job.sequence] += chunk.scores
        problems += [f"{job.sequence}: {problem}" for problem in chunk.problems]
        if chunk.largest and chunk.largest[0] > largest.get(job.sequence, (0,))[0]:
            largest[job.sequence] = chunk.largest
    for plan in plans:
        if plan.sequence in largest:
            object_id, path = largest[plan.sequence]
            problems.append(_describe_id(plan, object_id, path, jobs[0].mode))
    _raise_all(problems)
    return [frames[plan.sequence] for plan in plans]


def _describe_id(plan: _Plan, object_id: int, path: Path, mode: Mode) -> str:
    if mode == "proposals":
        allowed = f"at most {MAX_PROPOSALS} proposals with ids 1..{MAX_PROPOSALS} are allowed"
    else:
        allowed = f"the sequence has the objects 1..{plan.num_objects}"
    return f"{plan.sequence}: predicted id {object_id} in {path}, but {allowed}"


def _raise_all(problems: Sequence[str]) -> None:
    if problems:
        header = f"the results cannot be scored, {len(problems)} problem(s):"
        raise DatasetError(list_problems(header, problems))


def _frame_names(plan: _Plan) -> list[str]:
    return [gt.stem for gt, _ in plan.pairs]


def _rows(plan: _Plan, frames: Sequence[NDArray[np.float64]]) -> list[JFRow]:
    scores = np.stack(frames)  # T, K, 2
    names = _frame_names(plan)
    return [
        row_of(plan.sequence, k + 1, scores[:, k, 0], scores[:, k, 1], names)
        for k in range(plan.num_objects)
    ]


def _rows_of_proposals(plan: _Plan, frames: Sequence[NDArray[np.float64]]) -> list[JFRow]:
    """Assigns proposals to objects by the mean of J and F over the video (spec section 4.4)."""
    num_proposals = max(plan.num_objects, *(len(frame) - 1 for frame in frames))
    # A proposal that a frame does not have is an empty one there: row 0.
    padded = [
        np.concatenate([frame[1:], np.repeat(frame[:1], num_proposals + 1 - len(frame), axis=0)])
        for frame in frames
    ]
    scores = np.stack(padded)  # T, N, K, 2
    pair_scores = scores.mean(axis=0).mean(axis=-1)  # N, K
    proposals, objects = linear_sum_assignment(-pair_scores)
    names = _frame_names(plan)
    rows = [
        row_of(plan.sequence, int(k) + 1, scores[:, n, k, 0], scores[:, n, k, 1], names, int(n) + 1)
        for n, k in zip(proposals, objects, strict=True)
    ]
    return sorted(rows, key=lambda row: row.object_id)


def _never_seen(plans: Sequence[_Plan], rows: Sequence[JFRow]) -> list[str]:
    """Names objects that no evaluated annotation shows: frames without their id score 1."""
    # Without ground truth J is 0 or 1, so only such rows are worth reading annotations again.
    suspects = {(row.sequence, row.object_id) for row in rows if set(row.j_frames) <= {0.0, 1.0}}
    warnings: list[str] = []
    for plan in plans:
        ids = [k for k in range(1, plan.num_objects + 1) if (plan.sequence, k) in suspects]
        seen: set[int] = set()
        for gt_path, _ in plan.pairs if ids else ():
            seen.update(object_ids(read_indices(gt_path)))
        warnings += [
            f"{plan.sequence}: object {k} is in no evaluated annotation; every frame where it is "
            "not predicted scores 1, as the official tool has it"
            for k in ids
            if k not in seen
        ]
    return warnings


if __name__ == "__main__":
    from vidseg_common.errors import run_cli
    from vidseg_common.metrics.davis_cli import main

    run_cli(main)
