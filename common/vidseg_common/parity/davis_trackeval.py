"""J&F by the rule of the tracking tool. Source: spec common section 4.7."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vidseg_common.metrics.davis_jf import evaluate_davis
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

_JOINT, _COUNT = "J&F", "num_gt_tracks"


def check(kit: Path, case: dict[str, Any]) -> Iterator[Check]:
    """Compares the set scores of every recorded sequence."""
    record = read_json(expected_path(kit, case))["sequences"]
    with mask_folders(read_arrays(input_path(kit, case, ".npz"))) as folder:
        roots = folder / "gt", folder / "pred"
        for name, entry in record.items():
            if "trackeval_J_and_F" not in entry:
                continue
            want = entry["trackeval_J_and_F"]
            result = evaluate_davis(*roots, [name], task="tracking", compat=True, progress=False)
            numbers = result.numbers | {_JOINT: result.global_mean, _COUNT: len(result.rows)}
            yield same(f"{name}: names of the numbers", sorted(set(want) - set(numbers)), [])
            for key, value in want.items():
                yield near(case, f"{name}: {key}", numbers[key], value)
