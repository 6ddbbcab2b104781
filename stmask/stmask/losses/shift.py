"""Losses of the shift of objects from a frame to the next (spec 10.2).

Letters as in `stmask.losses.targets`; K clips, S shifted positives of the batch, P prototypes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.losses.mask_terms import compare_masks, pixel_areas
from stmask.losses.settings import LossSettings
from stmask.losses.targets import FrameTargets, Positives
from stmask.model.boxes import encode, to_centre
from stmask.model.masks import assemble
from stmask.model.temporal import roi_features


@dataclass(frozen=True)
class ClipPredictions:
    """What the network says of the M positives, and of clips.

    Attributes:
        decoded: (M, 4) predicted corners.
        coefficients: (M, P) before tanh.
        proto: (B, h, w, P) prototypes.
        temporal: (K, channels, h4, w4) temporal features.
    """

    decoded: Tensor
    coefficients: Tensor
    proto: Tensor
    temporal: Tensor


@dataclass(frozen=True)
class Shifted:
    """The positives of a reference frame whose object is in the next frame, too.

    Attributes:
        positive: (s,) which of the M positives.
        row: (s,) their object as a row of the next frame.
    """

    positive: Tensor
    row: Tensor

    def __len__(self) -> int:
        """s."""
        return len(self.row)


def find_shifted(positives: Positives, targets: Sequence[FrameTargets]) -> list[Shifted]:
    """What is to be shifted in each of the K clips.

    Args:
        positives: M positives.
        targets: B frames.
    """
    found = []
    for frame in range(0, len(targets), 2):
        part = positives.in_frame(frame)
        is_object = positives.ids[part, None] == targets[frame + 1].ids[None]  # m, n
        here, row = is_object.nonzero(as_tuple=True)
        found.append(Shifted(here + part.start, row))
    return found


def find_regions(predictions: ClipPredictions, shifted: Sequence[Shifted]) -> Tensor:
    """(S, channels, 7, 7) temporal features of the predicted boxes of all clips.

    One batch for all: so TemporalNet gets gradients, zeros if need be, from every batch.
    """
    regions = [
        roi_features(predictions.temporal[clip, None], predictions.decoded[found.positive].detach())
        for clip, found in enumerate(shifted)
    ]
    return torch.cat(regions)


@dataclass(frozen=True)
class Moves:
    """What TemporalNet says of S regions: `loc` (S, 4) and `change` of coefficients (S, P)."""

    loc: Tensor
    change: Tensor


def shift_losses(
    moves: Moves,
    predictions: ClipPredictions,
    shifted: Sequence[Shifted],
    positives: Positives,
    targets: Sequence[FrameTargets],
    settings: LossSettings,
) -> dict[str, Tensor]:
    """How well boxes and masks of the reference frames are moved to the next; a mean over clips.

    A clip without an object in both frames counts as one without error.

    Args:
        moves: of the S regions.
        predictions: for the positives and for the clips.
        shifted: which positives the regions of each clip are.
        positives: their objects.
        targets: B frames.
        settings: switches and weights.

    Returns:
        B_shift and, where it is trained, M_shift.
    """
    zero, counts = (moves.loc.sum() + moves.change.sum()) * 0.0, [len(found) for found in shifted]
    boxes_error, masks_error = zero, zero
    parts = zip(shifted, moves.loc.split(counts), moves.change.split(counts), strict=True)
    for clip, (found, loc, change) in enumerate(parts):
        if not len(found):
            continue
        target = targets[2 * clip + 1]
        boxes, before = target.boxes[found.row], to_centre(positives.boxes[found.positive])
        wanted = encode(boxes, before, yolo=settings.use_yolo_regressors)
        error = F.smooth_l1_loss(loc, wanted, reduction="none")
        boxes_error = boxes_error + error.sum(1).mean()
        if settings.maskshift_loss:
            coefficients = predictions.coefficients[found.positive].detach() + change
            soft = assemble(predictions.proto[2 * clip + 1].detach(), coefficients, boxes)
            masks_error = masks_error + _shifted_mask_error(soft, boxes, target, found.row)
    losses = {"B_shift": settings.boxshift_alpha / len(shifted) * boxes_error}
    if settings.maskshift_loss:
        losses["M_shift"] = settings.maskshift_alpha / len(shifted) * masks_error
    return losses


def _shifted_mask_error(soft: Tensor, boxes: Tensor, target: FrameTargets, rows: Tensor) -> Tensor:
    """Mean over masks (s, h, w) of the cross entropy, by the areas of the boxes they lie in."""
    error = compare_masks(soft, target.masks, rows).error
    return (error / pixel_areas(boxes, (target.masks.shape[-2], target.masks.shape[-1]))).mean()
