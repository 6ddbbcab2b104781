"""COCO AP on boxes, masks, and masks with all classes pooled. Source: spec common section 5.5."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vidseg_common.datasets import coco
from vidseg_common.metrics.ap_result import APResult
from vidseg_common.metrics.coco_ap import evaluate
from vidseg_common.parity.records import (
    Check,
    expected_path,
    near,
    read_arrays,
    read_json,
    same,
)


def check(kit: Path, case: dict[str, Any]) -> Iterator[Check]:
    """Compares the summaries and the curves."""
    record = read_json(expected_path(kit, case))
    arrays = read_arrays(expected_path(kit, case, ".npz"))
    gt, pred = (kit / name for name in case["inputs"])
    truth = coco.read(gt)
    predictions = coco.read_results(pred, truth)
    for name, want in record.items():
        result = evaluate(
            truth,
            predictions,
            iou_type="bbox" if "bbox" in name else "segm",
            class_agnostic="class_agnostic" in name,
        )
        yield near(case, f"{name}: summary", list(result.numbers.values()), want["stats"])
        if "counts" in want:
            yield same(f"{name}: axes", _axes(result), want["counts"])
        for curve in ("precision", "recall", "scores"):
            if f"{name}.{curve}" in arrays:
                # The official arrays have no axis of levels.
                ours = getattr(result, curve)[..., 0, :]
                yield near(case, f"{name}: {curve}", ours, arrays[f"{name}.{curve}"])


def _axes(result: APResult) -> list[int]:
    protocol = result.protocol
    axes = (protocol.thresholds, protocol.recalls, result.categories, protocol.areas)
    return [len(axis) for axis in (*axes, protocol.max_dets)]
