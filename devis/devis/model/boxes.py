"""Boxes as (centre x, centre y, width, height) in fractions of the image, and their logits."""

from __future__ import annotations

import torch
from torch import Tensor


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Logits of fractions; those beyond 0 and 1, and closer to them than `eps`, are clamped."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


def add_logits(delta: Tensor, reference: Tensor) -> Tensor:
    """Boxes that `delta` makes of references (spec 5.6, refinement).

    Args:
        delta: (..., 4) logits.
        reference: (..., 2) or (..., 4) fractions; width and height count only where given.

    Returns:
        (..., 4) fractions.
    """
    logits = inverse_sigmoid(reference)
    if reference.shape[-1] == 4:
        return (delta + logits).sigmoid()
    return torch.cat((delta[..., :2] + logits, delta[..., 2:]), -1).sigmoid()
