"""Greedy non-maximum suppression (spec 2.5).

Letters: n boxes, K classes, m results.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms


def batched_nms(
    boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """Suppresses boxes of a group by better ones of the same group.

    The groups are moved apart in float32 as the original does, so that overlaps round alike, and
    then run one by one: boxes of two groups never meet.

    Args:
        boxes: (n, 4); none is fine.
        scores: (n,).
        groups: (n,) int64 from 0.
        threshold: IoU above which the worse box goes.

    Returns:
        (m, 5) boxes with scores, best first, and their (m,) positions.
    """
    if not len(boxes):
        return boxes.new_zeros((0, 5)), groups.new_zeros(0)
    shifted = boxes + (groups.to(boxes) * (boxes.max() + 1))[:, None]
    if boxes.device.type == "cpu":
        keep = _by_group(shifted, scores, groups, threshold)
    else:
        keep = nms(shifted, scores, threshold)
    return torch.cat([boxes[keep], scores[keep, None]], 1), keep


def _by_group(shifted: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Positions kept, best score first and the first of equal ones first."""
    order = groups.sort(stable=True).indices
    parts = order.split(groups.bincount().tolist())
    kept = [part[nms(shifted[part], scores[part], threshold)] for part in parts if len(part)]
    every = torch.cat(kept).sort().values
    return every[scores[every].sort(descending=True, stable=True).indices]


def multiclass_nms(
    boxes: Tensor, scores: Tensor, score_thr: float, threshold: float, max_num: int
) -> tuple[Tensor, Tensor]:
    """Detections of boxes that every class moves in its own way.

    Args:
        boxes: (n, K*4), or (n, 4) for all classes.
        scores: (n, K+1), the last column is the background.
        score_thr: a candidate needs a score above it.
        threshold: IoU above which the worse of two candidates of a class goes.
        max_num: results at most.

    Returns:
        (m, 5) boxes with scores, best first, and (m,) labels.
    """
    num_classes = scores.shape[1] - 1
    rows, labels = torch.nonzero(scores[:, :num_classes] > score_thr, as_tuple=True)
    each = boxes.unflatten(1, (-1, 4))
    chosen = each[rows, labels] if each.shape[1] > 1 else each[rows, 0]
    dets, keep = batched_nms(chosen, scores[rows, labels], labels, threshold)
    return dets[:max_num], labels[keep[:max_num]]
