"""Published predictions on DAVIS 2016, where the data set is at hand. Source: spec common 4.8.

Annotations and predictions are looked for in the folder that VIDSEG_DATA names (with `davis2016`
and `osvos_predictions`), then where the case says. Sequences that are not there are left out.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vidseg_common.masks import read_indices
from vidseg_common.metrics.davis_jf import evaluate_davis
from vidseg_common.metrics.jf_result import JFRow
from vidseg_common.metrics.parallel import available_cpus
from vidseg_common.parity.records import (
    CaseSkipped,
    Check,
    expected_path,
    near,
    read_json,
    same,
)

_VARIABLE = "VIDSEG_DATA"


def check(kit: Path, case: dict[str, Any]) -> Iterator[Check]:
    """Compares all sequences that have annotations and predictions; the set where all have."""
    record = read_json(expected_path(kit, case))
    gt_root, results = _folders(kit, case)
    wanted = record["sequences"]
    names = [n for n in wanted if (gt_root / n).is_dir() and (results / n).is_dir()]
    if not names:
        raise CaseSkipped(
            f"needs DAVIS 2016 annotations (looked in {gt_root}) and the published predictions "
            f"(looked in {results}); name a folder with both in {_VARIABLE}"
        )
    found = f"{len(names)} of {len(wanted)} sequences"
    result = evaluate_davis(
        gt_root, results, names, binary=True, workers=available_cpus(), progress=False
    )
    for row in result.rows:
        want, label = wanted[row.sequence], f"{row.sequence} ({found})"
        yield from _row(case, label, row, want)
        digests = [_digest(gt_root / row.sequence), _digest(results / row.sequence)]
        kinds = ("gt_foreground_sha256", "prediction_foreground_sha256")
        yield same(f"{label}: inputs", digests, [want[kind] for kind in kinds])
    if len(names) == len(wanted):
        for ours, theirs in (("J", "J"), ("F", "F"), ("J&F", "J&F")):
            value = result.global_scores[f"{ours}-Mean"]
            yield near(case, f"set: {ours}", value, record["set"][f"{theirs}_mean"])


def _folders(kit: Path, case: Mapping[str, Any]) -> tuple[Path, Path]:
    """Where the annotations and the predictions should be."""
    inputs = [str(name) for name in case.get("inputs", []) if str(name).endswith("/")]
    predictions = (kit / inputs[0]) if inputs else kit / "osvos_predictions"
    data = Path(os.environ[_VARIABLE]) if _VARIABLE in os.environ else predictions.parent
    if _VARIABLE in os.environ and (data / "osvos_predictions").is_dir():
        predictions = data / "osvos_predictions"
    return (data / "davis2016" / "Annotations" / "480p").resolve(), predictions.resolve()


def _row(
    case: Mapping[str, Any], label: str, row: JFRow, want: Mapping[str, Any]
) -> Iterator[Check]:
    for letter, statistic, frames in (("J", row.j, row.j_frames), ("F", row.f, row.f_frames)):
        numbers = [statistic.mean, statistic.recall, statistic.decay]
        wanted = [want[f"{letter}_{key}"] for key in ("mean", "recall", "decay")]
        yield near(case, f"{label}: {letter} mean, recall, decay", numbers, wanted)
        yield near(case, f"{label}: {letter} per frame", frames, want[f"{letter}_per_frame"])


def _digest(folder: Path) -> str:
    """SHA-256 of the packed (T, H, W) foreground of a sequence."""
    masks = [read_indices(path) > 0 for path in sorted(folder.glob("*.png"))]
    return hashlib.sha256(np.packbits(np.stack(masks)).tobytes()).hexdigest()
