"""Boxes `x1,y1,x2,y2` and the deltas that move one to another (spec 2.4).

Letters: n boxes, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

#: Largest change of the logarithm of a side.
MAX_LOG_RATIO = abs(math.log(16 / 1000))


def encode(boxes: Tensor, targets: Tensor, stds: Sequence[float]) -> Tensor:
    """Deltas (n, 4) that move boxes (n, 4) to targets (n, 4), in units of `stds`."""
    size, target_size = boxes[:, 2:] - boxes[:, :2], targets[:, 2:] - targets[:, :2]
    centre, target_centre = (
        (boxes[:, :2] + boxes[:, 2:]) * 0.5,
        (targets[:, :2] + targets[:, 2:]) * 0.5,
    )
    deltas = torch.cat([(target_centre - centre) / size, (target_size / size).log()], 1)
    return deltas / deltas.new_tensor(stds)


def decode(
    boxes: Tensor,
    deltas: Tensor,
    stds: Sequence[float],
    img_shape: Sequence[int] | None = None,
) -> Tensor:
    """Boxes moved by deltas.

    Args:
        boxes: (n, 4).
        deltas: (n, K*4), in units of `stds`.
        stds: of dx, dy, dw, dh.
        img_shape: (height, width, ...) of the image that results are clipped to.

    Returns:
        (n, K*4).
    """
    moves = deltas.unflatten(1, (-1, 4)) * deltas.new_tensor(stds)  # n, K, 4
    size = (boxes[:, 2:] - boxes[:, :2])[:, None]
    centre = ((boxes[:, :2] + boxes[:, 2:]) * 0.5)[:, None]
    new_centre = centre + size * moves[..., :2]
    half = size * moves[..., 2:].clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp() * 0.5
    corners = torch.cat([new_centre - half, new_centre + half], -1)  # n, K, 4
    if img_shape is not None:
        corners = clip(corners, img_shape)
    return corners.reshape(deltas.shape)


def clip(boxes: Tensor, img_shape: Sequence[int]) -> Tensor:
    """Boxes (..., 4) within an image of (height, width, ...)."""
    height, width = img_shape[:2]
    limit = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes.clamp(min=0), limit)


def pairwise_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU (n, m) of boxes (n, 4) and others (m, 4); two without area have 0."""
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:4], others[None, :, 2:4])
    intersection = (high - low).clamp(min=0).prod(-1)
    union = area(boxes)[:, None] + area(others)[None] - intersection
    return intersection / union.clamp(min=1e-6)


def area(boxes: Tensor) -> Tensor:
    """Areas (n,) of boxes (n, 4 or more)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
