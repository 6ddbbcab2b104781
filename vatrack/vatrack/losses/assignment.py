"""Which boxes stand for which objects (`MaxIoUAssigner`, spec 5.2).

Letters: N boxes (anchors or proposals), G objects of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vatrack.losses.settings import AssignSettings
from vatrack.model.boxes import pairwise_iou

#: Objects of boxes that stand for none: no object near, or too near to be a negative.
NEGATIVE, IGNORED = -1, -2


@dataclass(frozen=True)
class Assignment:
    """What the boxes of a frame stand for.

    Attributes:
        objects: (N,) int64 row of the object, `NEGATIVE` or `IGNORED`.
        max_overlaps: (N,) largest IoU with any object; 0 without objects.
    """

    objects: Tensor
    max_overlaps: Tensor


def assign(boxes: Tensor, objects: Tensor, settings: AssignSettings) -> Assignment:
    """Gives every box to the object it overlaps most, where that is enough.

    Args:
        boxes: (N, 4) corners.
        objects: (G, 4) corners of the objects.
        settings: thresholds.
    """
    if not len(objects) or not len(boxes):
        chosen = boxes.new_full((len(boxes),), NEGATIVE, dtype=torch.int64)
        return Assignment(chosen, boxes.new_zeros(len(boxes)))
    iou = pairwise_iou(boxes, objects)  # N, G
    best, nearest = iou.max(1)
    chosen = torch.full_like(nearest, IGNORED)
    chosen[best < settings.negative] = NEGATIVE
    is_positive = best >= settings.positive
    chosen[is_positive] = nearest[is_positive]
    if settings.low_quality:
        chosen = _take_best(chosen, iou, settings.min_positive)
    return Assignment(chosen, best)


def _take_best(chosen: Tensor, iou: Tensor, smallest: float) -> Tensor:
    """Gives every object all boxes that tie for its best IoU; later objects overwrite."""
    best = iou.amax(0)  # G
    takes = (iou == best) & (best >= smallest)
    numbers = torch.arange(iou.shape[1], device=iou.device)
    last = torch.where(takes, numbers, -1).amax(1)  # the last object that takes a box, -1: none
    return torch.where(last >= 0, last, chosen)
