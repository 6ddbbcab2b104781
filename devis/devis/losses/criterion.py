"""All losses of a training step, for images and clips alike (spec 6.2, 6.3).

B images or clips, N queries, C classes, m matched entries of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from devis.losses.boxes import corners, generalised_iou
from devis.losses.settings import LossSettings
from devis.losses.targets import Match, Target
from devis.losses.terms import dice, focal, mask_focal

Losses = dict[str, Tensor]


class LayerOutput(NamedTuple):
    """What a decoder layer predicts.

    Attributes:
        logits: (B, N, C).
        boxes: (B, N, 4) centre, width, height in 0 to 1.
        masks: (m, h, w) logits in the order of the matches; None: no mask losses.
    """

    logits: Tensor
    boxes: Tensor
    masks: Tensor | None = None


def all_losses(
    outputs: Mapping[int, LayerOutput],
    matches: Mapping[int, Sequence[Match]],
    targets: Sequence[Target],
    num_boxes: float,
    settings: LossSettings,
) -> Losses:
    """Every term by its name, without weights; `class_error` too, which is no loss.

    Args:
        outputs: by decoder layer.
        matches: by decoder layer, one per image or clip.
        targets: one per image or clip.
        num_boxes: see `num_entries`; the mean of all processes, at least 1.
        settings: of the losses.
    """
    losses: Losses = {}
    for layer in settings.layers:
        end = settings.suffix(layer)
        own = layer_losses(outputs[layer], matches[layer], targets, num_boxes, settings)
        losses |= {name + end: value for name, value in own.items()}
        if not end:
            losses["class_error"] = class_error(outputs[layer].logits, matches[layer], targets)
    return losses


def total_loss(losses: Losses, settings: LossSettings) -> Tensor:
    """The weighted sum that is minimised."""
    weights = settings.weights()
    return torch.stack([losses[name] * weight for name, weight in weights.items()]).sum()


def num_entries(targets: Sequence[Target]) -> int:
    """Entries of all targets, invalid ones too: what the sums are divided by."""
    return sum(len(target.labels) for target in targets)


def layer_losses(
    output: LayerOutput,
    matches: Sequence[Match],
    targets: Sequence[Target],
    num_boxes: float,
    settings: LossSettings,
) -> Losses:
    """The terms of one layer."""
    losses = {"loss_ce": class_loss(output.logits, matches, targets, num_boxes, settings.alpha)}
    losses |= box_losses(output.boxes, matches, targets, num_boxes)
    if output.masks is not None:
        losses |= mask_losses(output.masks, matches, targets, num_boxes)
    return losses


def class_loss(
    logits: Tensor,
    matches: Sequence[Match],
    targets: Sequence[Target],
    num_boxes: float,
    alpha: float,
) -> Tensor:
    """Focal loss of all queries and classes; ones are the classes of matched valid entries."""
    wanted = torch.zeros_like(logits)
    for row, match, target in zip(wanted, matches, targets, strict=True):
        labels = target.labels[match.target[match.valid]]
        row[match.prediction[match.valid], labels] = 1
    per_query = focal(logits, wanted, alpha).mean(1).sum() / num_boxes
    return per_query * logits.shape[1]


@torch.no_grad()
def class_error(logits: Tensor, matches: Sequence[Match], targets: Sequence[Target]) -> Tensor:
    """Percentage of matched valid entries whose best class is wrong; 100 when there are none."""
    right = [
        logits[index, match.prediction[match.valid]].argmax(-1)
        == target.labels[match.target[match.valid]]
        for index, (match, target) in enumerate(zip(matches, targets, strict=True))
    ]
    joined = torch.cat(right).to(logits.dtype)
    return 100 - 100 * (joined.mean() if len(joined) else joined.sum())


def box_losses(
    boxes: Tensor, matches: Sequence[Match], targets: Sequence[Target], num_boxes: float
) -> Losses:
    """Distance and overlap of matched boxes, of invalid frames too unless all are invalid."""
    pairs = [
        (boxes[index, match.prediction], target.boxes[match.target])
        for index, (match, target) in enumerate(zip(matches, targets, strict=True))
        if match.valid.any()
    ]
    if not pairs:
        nothing = boxes.sum() * 0
        return {"loss_bbox": nothing, "loss_giou": nothing}
    predicted, wanted = (torch.cat(side) for side in zip(*pairs, strict=True))
    overlap = generalised_iou(corners(predicted), corners(wanted))
    return {
        "loss_bbox": (predicted - wanted).abs().sum() / num_boxes,
        "loss_giou": (1 - overlap).sum() / num_boxes,
    }


def mask_losses(
    masks: Tensor, matches: Sequence[Match], targets: Sequence[Target], num_boxes: float
) -> Losses:
    """Focal and dice loss of matched masks at the size of the (padded) targets.

    Masks of invalid frames are to be empty; when all are invalid there is no loss.
    """
    if not any(match.valid.any() for match in matches):
        nothing = masks.sum() * 0
        return {"loss_mask": nothing, "loss_dice": nothing}
    wanted = target_masks(matches, targets).to(masks)
    large = F.interpolate(masks[:, None], wanted.shape[-2:], mode="bilinear", align_corners=False)
    logits, flat = large[:, 0].flatten(1), wanted.flatten(1)
    return {
        "loss_mask": mask_focal(logits, flat, num_boxes),
        "loss_dice": dice(logits, flat, num_boxes),
    }


def target_masks(matches: Sequence[Match], targets: Sequence[Target]) -> Tensor:
    """(m, H, W) bool masks of all matched entries, padded to the largest; none where invalid."""
    given = [target.masks for target in targets if target.masks is not None]
    assert len(given) == len(targets), "targets of a network with masks have masks"
    height, width = (max(mask.shape[side] for mask in given) for side in (1, 2))
    rows = []
    for match, masks in zip(matches, given, strict=True):
        own = masks.new_zeros(len(match.target), height, width)
        own[match.valid, : masks.shape[1], : masks.shape[2]] = masks[match.target[match.valid]]
        rows.append(own)
    return torch.cat(rows)
