"""J&F of DAVIS 2016 and 2017, semi-supervised and unsupervised, equal to the official tool.

    python -m vidseg_common.metrics.davis_jf --davis_path DIR --results_path DIR --set val

Where the official tool crashes, guesses or leaves with status 0, this one says what is wrong,
all of it at once. The rule of the tracking tool is a third task. Only annotations are read, no
images. Source: spec common sections 4.1-4.5, 4.7 and 4.8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    read_pair,
    score_chunk,
)
from vidseg_common.metrics.jf_result import METRICS, JFResult, JFRow, Metric, row_of
from vidseg_common.metrics.pair_scores import PairScores
from vidseg_common.metrics.parallel import run_jobs, split_items

__all__ = ["JFResult", "JFRow", "Metric", "Task", "evaluate_davis", "jf_frame"]

Task = Literal["semi-supervised", "unsupervised", "tracking"]
FramePair = tuple[Path, Path]

# The tracking tool counts frames above one half by more than rounding.
_TRACKING_RECALL = 0.5 + float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class _Plan:
    """What to score of one sequence: objects 1..num_objects in these frames."""

    sequence: str
    pairs: tuple[FramePair, ...]
    num_objects: int

    @property
    def frame_names(self) -> list[str]:
        """Names of the evaluated frames."""
        return [gt.stem for gt, _ in self.pairs]


@dataclass(frozen=True)
class _Scores:
    """All frames of a sequence: those of `ScoreChunk`, joined."""

    frames: list[NDArray[np.float64]]
    tables: list[PairScores]


def evaluate_davis(
    gt_root: str | Path,
    results_root: str | Path,
    sequences: Sequence[str],
    *,
    task: Task = "semi-supervised",
    binary: bool = False,
    metrics: Sequence[Metric] = METRICS,
    compat: bool = False,
    workers: int = 1,
    progress: bool = True,
) -> JFResult:
    """Scores the results of a set of sequences.

    Semi-supervised: objects keep their ids, first and last frame are left out, 255 in the
    annotation is background. Unsupervised: all frames, 255 is void, predicted ids are assigned
    to objects so that the mean of the chosen measures is highest. Tracking: the same by the rule
    of the tracking tool, where ids are those of any frame and the assignment is by J alone.

    Args:
        gt_root: annotations, `SEQUENCE/NNNNN.png`.
        results_root: predictions of the same names.
        sequences: which sequences.
        task: the protocol.
        binary: all ids are one object, in the annotation too, as DAVIS 2016 has it.
        metrics: "J", "F" or both.
        compat: the decay beyond 256 frames and the order of unsupervised rows of the official
            tool, which are faults of it; a warning names such rows.
        workers: number of processes.
        progress: shows a progress bar on stderr.

    Raises:
        DatasetError: anything missing, unreadable, of another size, or an id that the protocol
            does not allow; one error lists all problems.
    """
    if binary and task != "semi-supervised":
        raise DatasetError(f"DAVIS 2016 (all ids as one object) has no {task} protocol")
    chosen = tuple(metric for metric in METRICS if metric in metrics)
    if not chosen or len(chosen) != len(set(metrics)):
        raise DatasetError(f"metrics are J, F or both, not {', '.join(metrics) or 'none'}")
    plans, problems = _plan_all(Path(gt_root), Path(results_root), sequences, task, binary)
    _raise_all([*problems, *_unusable(plans)] if problems else [])
    jobs = _cut(plans, _mode(task, binary), "F" in chosen, workers)
    sizes = [len(job.pairs) for job in jobs]
    chunks = run_jobs(score_chunk, jobs, sizes, workers=workers, progress=progress)
    by_plan = [
        _rows(plan, scores, task, chosen, compat)
        for plan, scores in zip(plans, _collect(plans, jobs, chunks), strict=True)
    ]
    # In DAVIS 2016 the one object has any value, there is no id to look for.
    known_ids = not binary and task != "tracking"
    warnings = _never_seen(plans, by_plan) if known_ids else []
    if compat and task == "unsupervised":
        by_plan, notes = _official_order(by_plan)
        warnings += notes
    rows = [row for rows in by_plan for row in rows]
    return JFResult(task, tuple(rows), tuple(warnings), chosen)


def _mode(task: Task, binary: bool) -> Mode:
    modes: dict[Task, Mode] = {
        "semi-supervised": "binary" if binary else "objects",
        "unsupervised": "proposals",
        "tracking": "tracking",
    }
    return modes[task]


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
            any_ids = binary or task == "tracking"
            num_objects = 1 if any_ids else _count_objects(gt_root / sequence)
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


def _unusable(plans: Sequence[_Plan]) -> list[str]:
    """What is wrong with predictions that are there, to be told along with those that are not."""
    problems: list[str] = []
    for plan in plans:
        for gt_path, pred_path in plan.pairs:
            if pred_path.is_file():
                try:
                    read_pair(gt_path, pred_path)
                except MaskError as error:
                    problems.append(f"{plan.sequence}: {error}")
    return problems


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


def _cut(plans: Sequence[_Plan], mode: Mode, boundaries: bool, workers: int) -> list[ScoreJob]:
    total = sum(len(plan.pairs) for plan in plans)
    return [
        ScoreJob(plan.sequence, tuple(pairs), plan.num_objects, mode, boundaries)
        for plan in plans
        for pairs in split_items(plan.pairs, total, workers)
    ]


def _collect(
    plans: Sequence[_Plan], jobs: Sequence[ScoreJob], chunks: Sequence[ScoreChunk]
) -> list[_Scores]:
    """Joins the chunks of every sequence; raises all their problems together."""
    joined = {plan.sequence: _Scores([], []) for plan in plans}
    largest: dict[str, tuple[int, Path]] = {}
    problems: list[str] = []
    for job, chunk in zip(jobs, chunks, strict=True):
        joined[job.sequence].frames.extend(chunk.scores)
        joined[job.sequence].tables.extend(chunk.tables)
        problems += [f"{job.sequence}: {problem}" for problem in chunk.problems]
        if chunk.largest and chunk.largest[0] > largest.get(job.sequence, (0,))[0]:
            largest[job.sequence] = chunk.largest
    for plan in plans:
        if plan.sequence in largest:
            object_id, path = largest[plan.sequence]
            problems.append(_describe_id(plan, object_id, path, jobs[0].mode))
        elif jobs[0].mode == "tracking" and not _shown(joined[plan.sequence].tables):
            problems.append(f"{plan.sequence}: no object in any annotation")
    _raise_all(problems)
    return [joined[plan.sequence] for plan in plans]


def _shown(tables: Sequence[PairScores]) -> list[int]:
    """Ids of the objects that any annotation shows."""
    return sorted({k for table in tables for k in table.objects})


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


def _rows(
    plan: _Plan, scores: _Scores, task: Task, metrics: Sequence[Metric], compat: bool
) -> list[JFRow]:
    """Statistics of every object; a measure that was not asked for is NaN."""
    threshold = _TRACKING_RECALL if task == "tracking" else 0.5
    rows = []
    for object_id, proposal, values in _objects(plan, scores, task, metrics):
        j, f = (
            values[:, i] if metric in metrics else np.full(len(values), np.nan)
            for i, metric in enumerate(METRICS)
        )
        names = plan.frame_names
        row = row_of(
            plan.sequence, object_id, j, f, names, proposal, compat=compat, threshold=threshold
        )
        rows.append(row)
    return rows


def _objects(
    plan: _Plan, scores: _Scores, task: Task, metrics: Sequence[Metric]
) -> list[tuple[int, int, NDArray[np.float64]]]:
    """Id of every object, id of its prediction (0 for none) and its (T, 2) J and F."""
    if task == "semi-supervised":
        stacked = np.stack(scores.frames)  # T, K, 2
        return [(k + 1, k + 1, stacked[:, k]) for k in range(plan.num_objects)]
    predicted = sorted({n for table in scores.tables for n in table.proposals})
    if task == "tracking":
        objects, measures = _shown(scores.tables), [METRICS.index("J")]
        # Empty proposals, so that every object gets one.
        proposals = predicted + [0] * max(0, len(objects) - len(predicted))
    else:
        objects = list(range(1, plan.num_objects + 1))
        measures = [METRICS.index(metric) for metric in metrics]
        proposals = list(range(1, max([plan.num_objects, *predicted]) + 1))
    stacked = np.stack([table.take(proposals, objects) for table in scores.tables])  # T, N, K, 2
    merit = stacked.mean(axis=0)[..., measures].mean(axis=-1)  # N, K
    pairs = zip(*linear_sum_assignment(-merit), strict=True)
    found = [(objects[k], proposals[n], stacked[:, n, k]) for n, k in pairs]
    return sorted(found, key=lambda item: item[0])


def _official_order(by_plan: Sequence[list[JFRow]]) -> tuple[list[list[JFRow]], list[str]]:
    """Rows in the order of proposals but numbered 1..K, and a warning where that is another one."""
    made, notes = [], []
    for rows in by_plan:
        ordered = sorted(rows, key=lambda row: row.proposal)
        ids = [row.object_id for row in ordered]
        made.append([replace(row, object_id=i) for i, row in enumerate(ordered, start=1)])
        if ids != sorted(ids):
            notes.append(
                f"{rows[0].sequence}: rows 1..{len(rows)} are the objects "
                f"{', '.join(map(str, ids))}, as the official tool has them"
            )
    return made, notes


def _never_seen(plans: Sequence[_Plan], by_plan: Sequence[list[JFRow]]) -> list[str]:
    """Names objects that no evaluated annotation shows: frames without their id score 1."""
    warnings: list[str] = []
    for plan, rows in zip(plans, by_plan, strict=True):
        # Without ground truth all values are 0 or 1, so only such rows are worth reading again.
        ids = [row.object_id for row in rows if _all_0_or_1(row)]
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


def _all_0_or_1(row: JFRow) -> bool:
    return all(math.isnan(x) or x in (0.0, 1.0) for x in (*row.j_frames, *row.f_frames))


if __name__ == "__main__":
    from vidseg_common.errors import run_cli
    from vidseg_common.metrics.davis_cli import main

    run_cli(main)
