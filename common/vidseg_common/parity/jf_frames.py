"""J, F, radius and boundary lengths of single frames. Source: spec common section 4.1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vidseg_common.metrics.boundary import boundary_radius, count_pair, jf_frame
from vidseg_common.parity.records import (
    Check,
    expected_path,
    input_path,
    near,
    read_arrays,
    read_json,
    same,
)


def check(kit: Path, case: dict[str, Any]) -> Iterator[Check]:
    """Compares every recorded frame."""
    arrays = read_arrays(input_path(kit, case, ".npz"))
    for name, want in read_json(expected_path(kit, case))["frames"].items():
        gt, pred, void = arrays[f"{name}.gt"], arrays[f"{name}.pred"], arrays.get(f"{name}.void")
        radius = boundary_radius(gt.shape)
        valid = np.ones(gt.shape, bool) if void is None else ~void.astype(bool)
        counts = count_pair(np.stack([gt, pred]).astype(bool) & valid, radius)
        edges = [counts.gt_edge, counts.pred_edge]
        yield near(case, f"{name}: J and F", jf_frame(gt, pred, void), [want["J"], want["F"]])
        yield same(
            f"{name}: size and radius", [*gt.shape, radius], [*want["shape"], want["radius"]]
        )
        wanted_edges = [want["boundary_pixels_gt"], want["boundary_pixels_pred"]]
        yield same(f"{name}: boundary pixels", edges, wanted_edges)
