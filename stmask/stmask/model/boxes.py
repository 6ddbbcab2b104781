"""Boxes: coding against priors, overlaps, pixels (spec 4).

Boxes are corners (x1, y1, x2, y2), or centres and sizes (cx, cy, w, h) where that is said; both in
units of the padded image's width and height. Leading axes are free where (..., 4) is written.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Scale of regressed centres and of the logarithms of sizes.
VARIANCES = (0.1, 0.2)


def to_corners(boxes: Tensor) -> Tensor:
    """Centres and sizes (..., 4) to corners."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def to_centre(boxes: Tensor) -> Tensor:
    """Corners (..., 4) to centres and sizes."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], -1)


def decode(loc: Tensor, priors: Tensor, *, yolo: bool = False) -> Tensor:
    """Regressed values to boxes.

    Args:
        loc: (..., 4).
        priors: (..., 4) centres and sizes.
        yolo: the alternative regressor (`use_yolo_regressors`): the centre is moved by its value
            and there are no variances.

    Returns:
        Corners (..., 4).
    """
    if yolo:
        centre = priors[..., :2] + loc[..., :2]
        size = priors[..., 2:] * loc[..., 2:].exp()
    else:
        centre = priors[..., :2] + VARIANCES[0] * loc[..., :2] * priors[..., 2:]
        size = priors[..., 2:] * (VARIANCES[1] * loc[..., 2:]).exp()
    return to_corners(torch.cat([centre, size], -1))


def encode(corners: Tensor, priors: Tensor, *, yolo: bool = False) -> Tensor:
    """The inverse of `decode`: what has to be regressed for boxes, (..., 4)."""
    boxes = to_centre(corners)
    shift, ratio = boxes[..., :2] - priors[..., :2], boxes[..., 2:] / priors[..., 2:]
    if yolo:
        return torch.cat([shift, ratio.log()], -1)
    return torch.cat([shift / (VARIANCES[0] * priors[..., 2:]), ratio.log() / VARIANCES[1]], -1)


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU (...) of corners (..., 4) and (..., 4), which broadcast; NaN for an empty union."""
    low = torch.maximum(a[..., :2], b[..., :2])
    high = torch.minimum(a[..., 2:], b[..., 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    areas = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    return intersection / (areas - intersection)


def jaccard(a: Tensor, b: Tensor) -> Tensor:
    """IoU (n, m) of every corner box of (n, 4) with every one of (m, 4)."""
    return paired_iou(a[:, None], b[None])


def centre_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared distance of centres over the squared diagonal of the enclosing box; broadcasts."""
    distance = (to_centre(a)[..., :2] - to_centre(b)[..., :2]).square().sum(-1)
    low = torch.minimum(a[..., :2], b[..., :2])
    high = torch.maximum(a[..., 2:], b[..., 2:])
    return distance / (high - low).square().sum(-1).clamp(min=1e-10)


def diou(a: Tensor, b: Tensor) -> Tensor:
    """IoU minus `centre_distance` of pairs of corner boxes, (..., 4) each, which broadcast."""
    return paired_iou(a, b) - centre_distance(a, b)


def sanitize(boxes: Tensor, size_hw: tuple[int, int], padding: float) -> Tensor:
    """Corners to pixels of a map, ordered, widened and clamped to the map; not rounded.

    Args:
        boxes: (..., 4) corners in units of the map; the pairs may be in the wrong order.
        size_hw: height and width of the map.
        padding: pixels by which every side moves outwards.

    Returns:
        (..., 4) corners in pixels. Only the low sides are clamped at 0, only the high ones at the
        size: a box outside the map has no pixel.
    """
    height, width = size_hw
    pixels = boxes * boxes.new_tensor([width, height, width, height])
    low = torch.minimum(pixels[..., :2], pixels[..., 2:]) - padding
    high = torch.maximum(pixels[..., :2], pixels[..., 2:]) + padding
    limit = boxes.new_tensor([width, height])
    return torch.cat([low.clamp(min=0), torch.minimum(high, limit)], -1)


def crop(masks: Tensor, boxes: Tensor) -> Tensor:
    """Zeroes masks outside their boxes.

    Args:
        masks: (n, h, w).
        boxes: (n, 4) corners in units of the mask; a pixel of margin is added.

    Returns:
        (n, h, w).
    """
    inside = crop_window(boxes, (masks.shape[-2], masks.shape[-1]))
    return masks * inside.to(masks.dtype)


def crop_window(boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Which pixels of maps (h, w) `crop` keeps: (n, h, w) booleans."""
    height, width = size_hw
    x1, y1, x2, y2 = sanitize(boxes, size_hw, 1)[..., None].unbind(1)  # n, 1 each
    columns = torch.arange(width, device=boxes.device, dtype=boxes.dtype)
    rows = torch.arange(height, device=boxes.device, dtype=boxes.dtype)
    in_columns = (columns >= x1) & (columns < x2)  # n, w
    in_rows = (rows >= y1) & (rows < y2)  # n, h
    return in_rows[:, :, None] & in_columns[:, None]
