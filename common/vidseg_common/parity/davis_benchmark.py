"""Tables and CSV files of DAVIS, character by character. Source: spec common section 4.5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vidseg_common.metrics.davis_jf import Task, evaluate_davis
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
    """Compares the printed tables, the CSV files and the unrounded numbers of each task."""
    record = read_json(expected_path(kit, case))["benchmark"]
    with mask_folders(read_arrays(input_path(kit, case, ".npz"))) as folder:
        for task in _TASKS:
            if task in record:
                yield from _task(folder, case, task, record["sequences"], record[task])


def _task(
    folder: Path,
    case: Mapping[str, Any],
    task: Task,
    sequences: list[str],
    want: Mapping[str, Any],
) -> Iterator[Check]:
    roots = folder / "gt", folder / "pred"
    result = evaluate_davis(*roots, sequences, task=task, compat=True, progress=False)
    printed = f"Evaluating sequences for the {task} task...\n{result.table('val')}"
    yield same(f"{task}: printed", printed, "\n".join(want["stdout"]))
    with TemporaryDirectory(prefix="vidseg-parity-") as out:
        for path in result.write_csv(out, "val"):
            yield same(f"{task}: {path.name}", path.read_text(), want[path.name])
    scores = result.global_scores
    yield same(f"{task}: names of the numbers", sorted(scores), sorted(want["global"]))
    for name, value in scores.items():
        yield near(case, f"{task}: {name}", value, want["global"][name])
    rows = {row.name: [row.j.mean, row.f.mean] for row in result.rows}
    yield same(f"{task}: objects", sorted(rows), sorted(want["rows"]))
    for name, values in want["rows"].items():
        yield near(case, f"{task}: {name}", rows[name], values)
