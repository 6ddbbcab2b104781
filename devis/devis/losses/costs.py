"""Costs of giving an instance to a query, or to an instance slot of a clip (spec 6.1).

N queries, T frames, Q slots, n instances, C classes.
"""

from __future__ import annotations

from torch import Tensor

from devis.losses.boxes import corners, generalised_iou
from devis.losses.settings import LossSettings
from devis.losses.targets import Target

#: The matching's own focal parameters.
ALPHA, GAMMA, EPS = 0.25, 2.0, 1e-8


def class_cost(logits: Tensor) -> Tensor:
    """(..., C) logits to the focal cost of every class."""
    prob = logits.sigmoid()
    positive = ALPHA * (1 - prob) ** GAMMA * -(prob + EPS).log()
    negative = (1 - ALPHA) * prob**GAMMA * -(1 - prob + EPS).log()
    return positive - negative


def image_cost(logits: Tensor, boxes: Tensor, target: Target, settings: LossSettings) -> Tensor:
    """Costs of the queries of an image.

    Args:
        logits: (N, C).
        boxes: (N, 4) centre, width, height in 0 to 1.
        target: n instances.
        settings: weights of the terms.

    Returns:
        (N, n).
    """
    classes = class_cost(logits)[:, target.labels]
    distance = (boxes[:, None] - target.boxes).abs().sum(-1)
    overlap = generalised_iou(corners(boxes)[:, None], corners(target.boxes))
    return (
        settings.class_cost * classes + settings.l1_cost * distance - settings.giou_cost * overlap
    )


def clip_cost(
    logits: Tensor, boxes: Tensor, target: Target, num_frames: int, settings: LossSettings
) -> Tensor:
    """Costs of the instance slots of a clip: means over all its frames, invalid ones too.

    Args:
        logits: (T Q, C), frame after frame.
        boxes: (T Q, 4).
        target: n instances in T frames each.
        num_frames: T.
        settings: weights of the terms.

    Returns:
        (Q, n).
    """
    classes = class_cost(logits).unflatten(0, (num_frames, -1))  # T, Q, C
    predicted = boxes.unflatten(0, (num_frames, -1))[:, :, None]  # T, Q, 1, 4
    labels = target.labels.unflatten(0, (-1, num_frames)).T  # T, n
    wanted = target.boxes.unflatten(0, (-1, num_frames)).transpose(0, 1)[:, None]  # T, 1, n, 4
    per_class = classes.gather(2, labels[:, None].expand(-1, classes.shape[1], -1))  # T, Q, n
    difference = (predicted - wanted).abs()
    distance = difference.sum(-1) if settings.sum_l1 else difference.mean(-1)
    overlap = generalised_iou(corners(predicted), corners(wanted))
    cost = (
        settings.class_cost * per_class + settings.l1_cost * distance - settings.giou_cost * overlap
    )
    return cost.mean(0)
