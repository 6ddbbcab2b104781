"""J and F over seen and unseen categories. Source: spec common section 4.9."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vidseg_common.datasets.youtube_vos import read_meta
from vidseg_common.metrics.youtube_vos import evaluate_youtube_vos
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

_FRAME_STEP = 5
_VARIANTS = {"skip_first_annotated_frame": False, "all_annotated_frames": True}


def check(kit: Path, case: dict[str, Any]) -> Iterator[Check]:
    """Compares objects and groups, without and with the first frame of every object."""
    record = read_json(expected_path(kit, case))
    meta = read_meta(input_path(kit, case, ".json"))
    with mask_folders(read_arrays(input_path(kit, case, ".npz")), step=_FRAME_STEP) as folder:
        for variant, include_first in _VARIANTS.items():
            if variant not in record:
                continue
            want = record[variant]
            result = evaluate_youtube_vos(
                folder / "gt",
                meta,
                folder / "pred",
                seen_categories=set(record["seen_categories"]),
                include_first=include_first,
                progress=False,
            )
            rows = {f"{row.video}/{row.object_id}": row for row in result.rows}
            yield same(f"{variant}: objects", sorted(rows), sorted(want["per_object_J_F_seen"]))
            for name, (j, f, seen) in want["per_object_J_F_seen"].items():
                yield near(case, f"{variant}: {name}", [rows[name].j, rows[name].f], [j, f])
                yield same(f"{variant}: {name} is seen", rows[name].seen, seen)
            for name, value in result.global_scores.items():
                yield near(case, f"{variant}: {name}", value, want[name])
