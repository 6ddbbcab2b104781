"""IoU of boxes. Source: spec common section 5.5."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["box_iou"]


def box_iou(
    dets: Sequence[Sequence[float]] | NDArray[np.float64],
    gts: Sequence[Sequence[float]] | NDArray[np.float64],
    crowd: Sequence[bool] | NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """IoU of every pair of boxes [x, y, w, h], continuous (no pixel is added).

    Args:
        dets: D boxes.
        gts: G boxes.
        crowd: G flags; for a crowd the denominator is the area of the detection.

    Returns:
        (D, G); 0 where the boxes share nothing.
    """
    d = np.asarray(dets, np.float64).reshape(-1, 1, 4)
    g = np.asarray(gts, np.float64).reshape(1, -1, 4)
    low = np.maximum(d[..., :2], g[..., :2])
    high = np.minimum(d[..., :2] + d[..., 2:], g[..., :2] + g[..., 2:])
    shared = np.maximum(high - low, 0).prod(axis=-1)
    det_area, gt_area = d[..., 2:].prod(axis=-1), g[..., 2:].prod(axis=-1)
    flags = np.zeros(g.shape[1], bool) if crowd is None else np.asarray(crowd, bool)
    whole = np.where(flags, det_area, det_area + gt_area - shared)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=shared > 0)
