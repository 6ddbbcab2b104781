"""Losses of boxes and of centerness (spec 10.2). Letters as in `stmask.losses.targets`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from stmask.losses.settings import LossSettings
from stmask.losses.targets import Positives
from stmask.model.boxes import diou, encode


def diou_losses(
    decoded: Tensor,
    centerness: Tensor,
    positives: Positives,
    num_frames: int,
    settings: LossSettings,
) -> dict[str, Tensor]:
    """How far predicted boxes are from their objects, and whether the network knows it.

    Args:
        decoded: (M, 4) predicted corners of the positives.
        centerness: (M,) predicted ones.
        positives: their objects.
        num_frames: B.
        settings: switches and weights.

    Returns:
        BIoU and, where it is trained, center.
    """
    quality = diou(decoded, positives.boxes)  # M
    weights = positives.weights
    losses = {"BIoU": settings.bboxiou_alpha / num_frames * (weights * (1 - quality)).sum()}
    if settings.train_centerness:
        # The target keeps its gradient: the reference moves the boxes with it, too.
        error = F.smooth_l1_loss(centerness, quality, reduction="none")
        losses["center"] = settings.center_alpha / num_frames * (weights * error).sum()
    return losses


def smooth_l1_losses(
    loc: Tensor, priors: Tensor, positives: Positives, num_frames: int, settings: LossSettings
) -> dict[str, Tensor]:
    """How far regressed values are from those of the objects; centerness is not trained with it.

    Args:
        loc: (M, 4) regressed values of the positives.
        priors: (M, 4) their priors, centres and sizes.
        positives: their objects.
        num_frames: B.
        settings: weights.

    Returns:
        B.
    """
    wanted = encode(positives.boxes, priors, yolo=settings.use_yolo_regressors)
    error = F.smooth_l1_loss(loc, wanted, reduction="none").sum(1)  # M
    return {"B": settings.bbox_alpha / num_frames * (positives.weights * error).sum()}
