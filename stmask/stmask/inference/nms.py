"""Non-maximum suppression of one frame's candidates. Source: spec section 6.

Letters: n candidates, C classes with the background first, k candidates that are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from stmask.inference.settings import InferenceSettings
from stmask.model.boxes import jaccard
from stmask.model.masks import mask_iou

#: Rows of candidates (k,) to their soft masks (k, h, w).
MaskMaker = Callable[[Tensor], Tensor]


class Kept(NamedTuple):
    """Candidates that survived, best score first.

    Attributes:
        rows: (n,) positions among the candidates; by class, one may occur repeatedly.
        scores: (n,).
        classes: (n,) from 1.
    """

    rows: Tensor
    scores: Tensor
    classes: Tensor


def across_classes(
    boxes: Tensor,
    conf: Tensor,
    centerness: Tensor,
    settings: InferenceSettings,
    masks_of: MaskMaker | None = None,
) -> Kept:
    """Fast NMS over all classes: a candidate competes with its best class.

    The score is probability times centerness and may be negative; nothing is filtered by it.

    Args:
        boxes: (n, 4) corners.
        conf: (n, C) probabilities.
        centerness: (n,) in -1..1.
        settings: thresholds.
        masks_of: needed for `nms_as_miou`.
    """
    best, classes = conf[:, 1:].max(1)
    scores, rows = (best * centerness).sort(descending=True, stable=True)
    scores, rows = scores[: settings.nms_top_k], rows[: settings.nms_top_k]
    overlap = jaccard(boxes[rows], boxes[rows])  # k, k
    if settings.nms_as_miou:
        assert masks_of is not None, "mask IoU needs masks"
        masks = masks_of(rows) > 0.5
        overlap = (overlap + mask_iou(masks, masks)) / 2
    keep = _survivors(overlap, settings.nms_thresh)
    return Kept(rows[keep], scores[keep], classes[rows[keep]] + 1)


def by_class(
    boxes: Tensor, conf: Tensor, centerness: Tensor | None, settings: InferenceSettings
) -> Kept:
    """Fast NMS within every class; a candidate may win in several.

    Args:
        boxes: (n, 4) corners.
        conf: (n, C) probabilities.
        centerness: (n,) to multiply them with; None leaves them alone.
        settings: thresholds.
    """
    scores = conf[:, 1:].t()  # C - 1, n
    if centerness is not None:
        scores = scores * centerness
    # What is below the threshold is dropped in the end and suppresses only what is lower still.
    longest = int((scores > settings.nms_conf_thresh).sum(1).max()) if scores.numel() else 0
    scores, rows = scores.sort(dim=1, descending=True, stable=True)
    k = min(settings.nms_top_k, longest)
    scores, rows = scores[:, :k], rows[:, :k]  # C - 1, k
    sorted_boxes = boxes[rows]
    overlap = torch.stack([jaccard(own, own) for own in sorted_boxes])  # C - 1, k, k
    keep = _survivors(overlap, settings.nms_thresh) & (scores > settings.nms_conf_thresh)
    classes = torch.arange(1, conf.shape[1], device=conf.device)[:, None].expand_as(rows)
    return _best(rows[keep], scores[keep], classes[keep], settings.max_num_detections)


def greedy(
    boxes: Tensor, conf: Tensor, size_hw: tuple[int, int], settings: InferenceSettings
) -> Kept:
    """Classical NMS within every class: only what is itself kept suppresses.

    Boxes are taken in pixels and count both border pixels; an overlap *equal* to the threshold
    suppresses too.

    Args:
        boxes: (n, 4) corners.
        conf: (n, C) probabilities.
        size_hw: height and width of the padded image.
        settings: thresholds.
    """
    height, width = size_hw
    pixels = boxes * boxes.new_tensor([width, height, width, height])
    found: list[Kept] = []
    for number in range(1, conf.shape[1]):
        rows = (conf[:, number] > settings.nms_conf_thresh).nonzero()[:, 0]
        if len(rows):
            scores, order = conf[rows, number].sort(descending=True, stable=True)
            keep = _greedy_survivors(pixels[rows[order]], settings.nms_thresh)
            rows = rows[order][keep]
            found.append(Kept(rows, scores[keep], torch.full_like(rows, number)))
    if not found:
        none = torch.zeros(0, dtype=torch.long, device=boxes.device)
        return Kept(none, conf.new_zeros(0), none)
    rows, scores, classes = (torch.cat(parts) for parts in zip(*found, strict=True))
    return _best(rows, scores, classes, settings.max_num_detections)


def _survivors(overlap: Tensor, threshold: float) -> Tensor:
    """(..., k) flags of what overlaps nothing better, kept or not, by more than a threshold.

    Args:
        overlap: (..., k, k), best candidate first.
        threshold: largest overlap that is allowed.
    """
    if overlap.shape[-1] == 0:
        return torch.zeros(overlap.shape[:-1], dtype=torch.bool, device=overlap.device)
    return ~(overlap.triu(diagonal=1).amax(-2) > threshold)


def _greedy_survivors(pixels: Tensor, threshold: float) -> Tensor:
    """Positions kept of (k, 4) corners in pixels, best first."""
    remaining = torch.arange(len(pixels), device=pixels.device)
    kept = []
    while len(remaining):
        first = remaining[0]
        kept.append(first)
        remaining = remaining[1:]
        overlap = _pixel_iou(pixels[first], pixels[remaining])
        remaining = remaining[overlap < threshold]
    return torch.stack(kept)


def _pixel_iou(box: Tensor, others: Tensor) -> Tensor:
    """IoU of a box (4,) with others (m, 4), borders counted."""
    low, high = torch.maximum(box[:2], others[:, :2]), torch.minimum(box[2:], others[:, 2:])
    intersection = (high - low + 1).clamp(min=0).prod(1)
    area, areas = (box[2:] - box[:2] + 1).prod(), (others[:, 2:] - others[:, :2] + 1).prod(1)
    return intersection / (area + areas - intersection)


def _best(rows: Tensor, scores: Tensor, classes: Tensor, count: int) -> Kept:
    order = scores.sort(descending=True, stable=True).indices[:count]
    return Kept(rows[order], scores[order], classes[order])
