"""DAVIS protocols, object by object and frame by frame. Source: spec common sections 4.2-4.4."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vidseg_common.errors import DatasetError
from vidseg_common.metrics.davis_jf import JFResult, Task, evaluate_davis
from vidseg_common.metrics.jf_result import JFRow
from vidseg_common.parity.records import (
    Check,
    expected_path,
    input_path,
    mask_folders,
    near,
    read_arrays,
    read_json,
    same,
)

_TASKS: tuple[Task, ...] = ("semi-supervised", "unsupervised")


def check(kit: Path, case: dict[str, Any]) -> Iterator[Check]:
    """Compares every recorded sequence in every task; a recorded refusal must be refused."""
    record = read_json(expected_path(kit, case))["sequences"]
    listed = case.get("sequences", record)
    with mask_folders(read_arrays(input_path(kit, case, ".npz"))) as folder:
        for name in listed:
            asked = listed[name].get("tasks", ())
            yield same(f"{name}: tasks", [t for t in asked if t not in record[name]], [])
            for task in _TASKS:
                if task in record[name]:
                    yield from _sequence(folder, case, name, task, record[name][task])


def _sequence(
    folder: Path, case: Mapping[str, Any], name: str, task: Task, want: Mapping[str, Any]
) -> Iterator[Check]:
    label = f"{name}, {task}"
    if "refused" in want:
        yield f"{label}: is refused", _refusal(folder, name, task), 0.0
        return
    result = _evaluate(folder, name, task)
    rows = {str(row.object_id): row for row in result.rows}
    yield same(f"{label}: objects", sorted(rows), sorted(want["by_object"]))
    for object_id, numbers in want["by_object"].items():
        wide = want.get("decay_with_wide_integers", {})
        yield from _row(case, f"{label}, object {object_id}", rows[object_id], {**numbers, **wide})
    official = _evaluate(folder, name, task, compat=True)
    order = want.get("upstream_row_order", [row.object_id for row in official.rows])
    for row, object_id in zip(official.rows, order, strict=True):
        numbers = want["by_object"][str(object_id)]
        yield from _row(case, f"{label}, row {row.object_id} as upstream", row, numbers)


def _evaluate(folder: Path, name: str, task: Task, *, compat: bool = False) -> JFResult:
    roots = folder / "gt", folder / "pred"
    return evaluate_davis(*roots, [name], task=task, compat=compat, progress=False)


def _refusal(folder: Path, name: str, task: Task) -> float:
    """0 where the sequence is refused with a message that names it."""
    try:
        _evaluate(folder, name, task)
    except DatasetError as error:
        return 0.0 if f"{name}: " in str(error) else math.inf
    return math.inf


def _row(
    case: Mapping[str, Any], label: str, row: JFRow, want: Mapping[str, Any]
) -> Iterator[Check]:
    for letter, statistic, frames in (("J", row.j, row.j_frames), ("F", row.f, row.f_frames)):
        numbers = [statistic.mean, statistic.recall, statistic.decay]
        wanted = [want[f"{letter}_{key}"] for key in "MRD"]
        yield near(case, f"{label}: {letter} mean, recall, decay", numbers, wanted)
        if f"{letter}_frames" in want:
            yield near(case, f"{label}: {letter} per frame", frames, want[f"{letter}_frames"])
    if "proposal" in want:
        yield same(f"{label}: proposal", row.proposal, want["proposal"])
