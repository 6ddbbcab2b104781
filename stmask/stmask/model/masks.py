"""Masks from prototypes and coefficients (spec 5), and their overlaps."""

from __future__ import annotations

import torch
from torch import Tensor

from stmask.model.boxes import crop


def assemble(proto: Tensor, coeff: Tensor, boxes: Tensor | None) -> Tensor:
    """Soft masks at the resolution of the prototypes.

    Args:
        proto: (h, w, P) prototypes after their ReLU.
        coeff: (n, P) coefficients before tanh, which is applied here: temporal fusion adds to
            them before it.
        boxes: (n, 4) corners in units of the padded image, outside of which masks are zero; None
            does not crop.

    Returns:
        (n, h, w) in [0, 1].
    """
    height, width, num_prototypes = proto.shape
    logits = coeff.tanh() @ proto.reshape(-1, num_prototypes).t()  # n, h*w
    masks = logits.sigmoid().view(len(coeff), height, width)
    return masks if boxes is None else crop(masks, boxes)


def mask_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of binary masks.

    Args:
        a: (n, h, w), boolean or 0 and 1.
        b: (m, h, w).

    Returns:
        (n, m) float32; 0 where the union is empty.
    """
    flat_a, flat_b = a.flatten(1).float(), b.flatten(1).float()
    intersection = flat_a @ flat_b.t()  # n, m
    union = flat_a.sum(1)[:, None] + flat_b.sum(1)[None] - intersection
    return torch.where(union > 0, intersection / union.clamp(min=1), 0.0)
