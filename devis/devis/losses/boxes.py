"""Overlap of boxes as training measures it, with its two small constants (spec 6.1)."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-6


def corners(boxes: Tensor) -> Tensor:
    """(..., 4) boxes from centre, width and height to corners x, y, x, y."""
    x, y, width, height = boxes.unbind(-1)
    return torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], dim=-1)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Overlap less the empty share of the box around both.

    Args:
        a: (..., 4) corners.
        b: (..., 4) corners; the shapes broadcast.

    Returns:
        (...) from -1 to 1.
    """
    inner = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(0)
    outer = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(0)
    common, around = inner.prod(-1), outer.prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (a, b)]
    union = areas[0] + areas[1] - common
    return (common + EPS) / (union + EPS) - (around - union + EPS) / (around + EPS)
