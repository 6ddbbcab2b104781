"""Loss functions of single outputs; every one is a scalar in float32 that keeps its graph.

Letters: R boxes that were sampled, K classes, P positives among the boxes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def no_loss(values: Tensor) -> Tensor:
    """Zero with the graph of `values`; NaN in them does not spread."""
    return values.flatten()[:0].float().sum()


def smooth_l1(got: Tensor, wanted: Tensor, beta: float) -> Tensor:
    """Sum of the smooth L1 differences: quadratic below `beta`."""
    return F.smooth_l1_loss(got.float(), wanted.float(), reduction="sum", beta=beta)


def class_loss(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Cross entropy times the weight of the label, summed and divided by the number of boxes.

    Args:
        logits: (R, K + 1), background last.
        labels: (R,) int64.
        class_weights: (K + 1,); None: all 1.
    """
    if not len(labels):
        return no_loss(logits)
    # Not the mean of torch, which divides by the weights.
    loss = F.cross_entropy(logits.float(), labels, weight=class_weights, reduction="sum")
    return loss / len(labels)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Percentage of boxes whose largest logit is that of their label; 0 without boxes."""
    if not len(labels):
        return logits.new_zeros((), dtype=torch.float32)
    return (logits.argmax(1) == labels).float().mean() * 100


def mask_loss(logits: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross entropy of the label's map.

    Args:
        logits: (P, K, 28, 28).
        targets: (P, 28, 28), 0 or 1.
        labels: (P,) int64.
    """
    if not len(labels):
        return no_loss(logits)
    own = logits[torch.arange(len(labels), device=labels.device), labels].float()
    return F.binary_cross_entropy_with_logits(own, targets.float())
