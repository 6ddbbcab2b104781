"""MOTA, IDF1 and the rest on boxes. Source: spec common 7."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidseg_common.metrics.box_iou import box_iou
from vidseg_common.metrics.tracking_counts import (
    TrackingCounts,
    TrackingFrame,
    combine_counts,
    count_events,
    mot_table,
)
from vidseg_common.parity.records import Check, expected_path, input_path, near, read_json, same

_OVERALL = "OVERALL"


def check(kit: Path, case: dict[str, Any]) -> Iterator[Check]:
    """Compares every number of every sequence and of all, and the printed table."""
    record = read_json(expected_path(kit, case))
    sequences = read_json(input_path(kit, case, ".json"))
    counts = {name: _count(sequence["frames"]) for name, sequence in sequences.items()}
    counts[_OVERALL] = combine_counts(counts.values())
    rows = {name: part.numbers(compat=True) for name, part in counts.items()}
    for name, numbers in record["sequences"].items():
        for key, value in numbers.items():
            yield near(case, f"{name}: {key}", rows[name][key], value)
    if "printed" in record:
        yield same("table", mot_table(rows).splitlines(), record["printed"])


def _count(frames: Sequence[Mapping[str, Any]]) -> TrackingCounts:
    return count_events(_frame(frame) for frame in frames)


def _frame(frame: Mapping[str, Any]) -> TrackingFrame:
    gt, pred = frame["gt_ids"], frame["pred_ids"]
    return TrackingFrame(
        gt_ids=np.array(gt, np.int64),
        pred_ids=np.array(pred, np.int64),
        iou=box_iou(frame["pred_boxes"], frame["gt_boxes"]).T,
        gt_ignore=np.zeros(len(gt), np.bool_),
        covered=np.zeros(len(pred)),
    )
