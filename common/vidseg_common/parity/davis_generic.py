"""J and F of folders with any object ids. Source: spec common section 4.6."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vidseg_common.metrics.folder_jf import evaluate_folders
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

_VARIANTS = {"skip_first_and_last": True, "all_frames": False}


def check(kit: Path, case: dict[str, Any]) -> Iterator[Check]:
    """Compares the objects of every recorded sequence, without and with its two end frames."""
    record = read_json(expected_path(kit, case))["sequences"]
    arrays = read_arrays(input_path(kit, case, ".npz"))
    for name, entry in record.items():
        if "generic" not in entry:
            continue
        own = {key: arrays[key] for key in (f"{name}.gt", f"{name}.pred")}
        with mask_folders(own) as folder:
            for variant, skip in _VARIANTS.items():
                label, want = f"{name}, {variant}", entry["generic"][variant]
                result = evaluate_folders(
                    folder / "gt", folder / "pred", skip_first_and_last=skip, progress=False
                )
                rows = {str(row.object_id): [row.j, row.f] for row in result.rows}
                yield same(f"{label}: objects", sorted(rows), sorted(want["objects"]))
                for object_id, scores in want["objects"].items():
                    yield near(case, f"{label}: object {object_id}", rows[object_id], scores)
                means = [result.j_mean, result.f_mean]
                yield near(case, f"{label}: mean J and F", means, want["mean_J_F"])
