"""Which query is to predict which instance: the cheapest assignment (spec 6.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from devis.losses.costs import clip_cost, image_cost
from devis.losses.settings import LossSettings
from devis.losses.targets import Match, Target, match_of_clip, match_of_image

#: Cost beyond all others.
FAR = 1e9


@torch.no_grad()
def match_images(
    logits: Tensor, boxes: Tensor, targets: Sequence[Target], settings: LossSettings
) -> list[Match]:
    """Assigns the instances of every image.

    Args:
        logits: (B, N, C).
        boxes: (B, N, 4).
        targets: of B images.
        settings: costs.
    """
    return [
        match_of_image(*_assign(image_cost(classes, found, target, settings)), target)
        for classes, found, target in zip(logits, boxes, targets, strict=True)
    ]


@torch.no_grad()
def match_clip(
    logits: Tensor, boxes: Tensor, target: Target, num_frames: int, settings: LossSettings
) -> Match:
    """Assigns the instances of a clip to slots.

    Args:
        logits: (T Q, C), frame after frame.
        boxes: (T Q, 4).
        target: of the clip.
        num_frames: T.
        settings: costs.
    """
    slots, instances = _assign(clip_cost(logits, boxes, target, num_frames, settings))
    shape = num_frames, len(logits) // num_frames
    return match_of_clip(slots, instances, target, shape)


def _assign(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Rows in ascending order, and the column of each."""
    # Predictions that are not finite get any instance: their loss, not finite either, tells it.
    finite = cost.nan_to_num(nan=FAR, posinf=FAR, neginf=-FAR)
    rows, columns = linear_sum_assignment(finite.cpu().numpy())
    return (
        torch.as_tensor(rows, device=cost.device),
        torch.as_tensor(columns, device=cost.device),
    )
