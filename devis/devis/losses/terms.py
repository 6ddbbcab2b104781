"""Focal and dice losses of logits against 0 and 1 (spec 6.2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

GAMMA = 2.0


def focal(logits: Tensor, target: Tensor, alpha: float = 0.25) -> Tensor:
    """The focal loss of every value.

    Args:
        logits: any shape.
        target: 0 or 1, the same shape.
        alpha: weight of the ones; zeros weigh 1 - alpha.
    """
    prob = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    right = prob * target + (1 - prob) * (1 - target)
    weight = alpha * target + (1 - alpha) * (1 - target)
    return weight * entropy * (1 - right) ** GAMMA


def mask_focal(logits: Tensor, target: Tensor, num_boxes: float) -> Tensor:
    """Focal loss of (n, pixels) masks: mean over pixels, sum over masks by `num_boxes`."""
    return focal(logits, target).mean(1).sum() / num_boxes


def dice(logits: Tensor, target: Tensor, num_boxes: float) -> Tensor:
    """Dice loss of (n, pixels) masks: sum over masks by `num_boxes`."""
    prob = logits.sigmoid()
    common = 2 * (prob * target).sum(1)
    loss = 1 - (common + 1) / (prob.sum(1) + target.sum(1) + 1)
    return loss.sum() / num_boxes
