"""Losses of masks and prototypes (spec 10.2).

Letters as in `stmask.losses.targets`; h, w of the prototypes, H, W of the image, P prototypes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from stmask.losses.settings import LossSettings
from stmask.losses.targets import FrameTargets, Positives
from stmask.model.boxes import to_centre, to_corners
from stmask.model.masks import assemble

#: Masks that are held at the size of the image at once; more are computed twice instead.
_CHUNK = 48
#: Share by which the predicted box grows before it cuts the mask.
_BOX_GROWTH = 1.2
#: Share of the image that an object is taken to cover, and weight, where prototypes are kept small.
_L1_AREA = 20 * 20 / 70 / 70
_L1_WEIGHT = 0.1


@dataclass(frozen=True)
class MaskErrors:
    """What comes of comparing n masks with their objects, (n,) each.

    Attributes:
        error: summed binary cross entropy.
        iou: of the masks above one half; without gradient.
    """

    error: Tensor
    iou: Tensor


def compare_masks(soft: Tensor, frame_masks: Tensor, rows: Tensor) -> MaskErrors:
    """Compares predicted masks with those of their objects, at the size of the image.

    Args:
        soft: (n, h, w) in [0, 1].
        frame_masks: (k, H, W) uint8, the objects of the frame.
        rows: (n,) object of each mask.
    """
    # The cross entropy refuses NaN, on a GPU by ending the process; the training wants to see it.
    missing = (soft * 0).sum((1, 2))
    soft = soft.nan_to_num()
    errors, ious = [soft.new_zeros(0)], [soft.new_zeros(0)]
    for start in range(0, len(soft), _CHUNK):
        part = slice(start, start + _CHUNK)
        arguments = (soft[part], frame_masks, rows[part])
        if len(soft) > _CHUNK:
            error, iou = checkpoint(_compare_chunk, *arguments, use_reentrant=False)
        else:
            error, iou = _compare_chunk(*arguments)
        errors.append(error)
        ious.append(iou)
    return MaskErrors(torch.cat(errors) + missing, torch.cat(ious))


def _compare_chunk(soft: Tensor, frame_masks: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    size = (frame_masks.shape[-2], frame_masks.shape[-1])
    full = F.interpolate(soft[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    full = full.clamp(0, 1)
    truth = frame_masks[rows]  # n, H, W
    error = F.binary_cross_entropy(full, truth.float(), reduction="none").sum((1, 2))
    with torch.no_grad():
        found, wanted = full > 0.5, truth > 0
        common = (found & wanted).sum((1, 2))
        iou = common / (found | wanted).sum((1, 2)).clamp(min=1)
    return error, iou


def pixel_areas(boxes: Tensor, size: tuple[int, int], smallest_side: float = 0.0) -> Tensor:
    """Areas in pixels of boxes.

    Args:
        boxes: (n, 4) corners.
        size: (H, W) of the image.
        smallest_side: shorter sides count as this.

    Returns:
        (n,).
    """
    height, width = size
    sides = (boxes[:, 2:] - boxes[:, :2]) * boxes.new_tensor([width, height])
    return sides.clamp(min=smallest_side).prod(1)


def crop_boxes(decoded: Tensor, positives: Positives, settings: LossSettings) -> Tensor:
    """(M, 4) corners of the boxes within which masks are compared.

    Args:
        decoded: (M, 4) predicted corners.
        positives: their objects.
        settings: whose box it is.
    """
    if not settings.mask_proto_crop_with_pred_box:
        return positives.boxes
    centres = to_centre(decoded.detach())
    grown = torch.cat([centres[:, :2], centres[:, 2:] * _BOX_GROWTH], 1)
    return to_corners(grown).clamp(1e-5, 1)


@dataclass(frozen=True)
class MaskPredictions:
    """What masks are made of.

    Attributes:
        proto: (B, h, w, P) prototypes.
        coefficients: (M, P) of the positives, before tanh.
        boxes: (M, 4) corners within which masks are compared.
    """

    proto: Tensor
    coefficients: Tensor
    boxes: Tensor

    def of(self, frame: int, part: slice, *, is_cropped: bool) -> Tensor:
        """(n, h, w) soft masks of the positives of a frame."""
        boxes = self.boxes[part] if is_cropped else None
        return assemble(self.proto[frame], self.coefficients[part], boxes)


def mask_losses(
    predictions: MaskPredictions,
    positives: Positives,
    targets: Sequence[FrameTargets],
    settings: LossSettings,
    rater: nn.Module | None = None,
) -> dict[str, Tensor]:
    """How far predicted masks are from those of their objects.

    Args:
        predictions: what masks are made of.
        positives: the objects of the M coefficients.
        targets: B frames.
        settings: switches and weights.
        rater: (n, 1, h, w) masks to (n, C-1) expected overlaps, trained along; None for none.

    Returns:
        M and, where asked for, MIoU, which has no gradient, and I.
    """
    scale, zero = 1.0 / len(targets), predictions.coefficients.sum() * 0.0
    losses = {"M": predictions.proto.sum() * 0.0 + zero}
    losses |= {"MIoU": zero.detach()} if settings.use_maskiou_loss else {}
    losses |= {"I": zero} if rater is not None else {}
    for frame, target in enumerate(targets):
        part = positives.in_frame(frame)
        soft = predictions.of(frame, part, is_cropped=settings.mask_proto_crop)
        rows, weights = positives.object[part], positives.weights[part]
        found = compare_masks(soft, target.masks, rows)
        height, width = target.masks.shape[-2:]
        if settings.mask_proto_crop:
            area = pixel_areas(predictions.boxes[part], (height, width), smallest_side=1.0)
        else:
            area = found.error.new_full((), height * width)
        losses["M"] = (
            losses["M"] + settings.mask_alpha * scale * (weights * found.error / area).sum()
        )
        if settings.use_maskiou_loss:
            rest = settings.maskiou_alpha * scale * (1 - found.iou).sum()
            losses["MIoU"] = losses["MIoU"] + rest
        if rater is not None:
            rated = rater(soft.detach()[:, None])  # n, C-1
            rated = rated.gather(1, target.labels[rows, None] - 1)[:, 0]
            error = F.smooth_l1_loss(rated, found.iou, reduction="none")
            losses["I"] = losses["I"] + settings.maskiou_alpha * scale * (weights * error).sum()
    return losses


def prototype_loss(proto: Tensor, settings: LossSettings) -> Tensor:
    """Keeps prototypes small ("l1") or asks that one of them stands out everywhere ("disj").

    Args:
        proto: (B, h, w, P).
        settings: which of the two.

    Returns:
        A scalar.
    """
    num_frames = len(proto)
    if settings.mask_proto_loss == "l1":
        return proto.abs().mean() / _L1_AREA * _L1_WEIGHT / num_frames
    return -proto.log_softmax(-1).amax(-1).mean() / num_frames


def semantic_loss(
    logits: Tensor, targets: Sequence[FrameTargets], settings: LossSettings
) -> Tensor:
    """Compares the semantic maps with the union of the masks of each class.

    Args:
        logits: (B, C-1, h3, w3), one map per foreground class.
        targets: B frames.
        settings: the weight.

    Returns:
        A scalar.
    """
    num_frames, _, height, width = logits.shape
    truth = torch.zeros_like(logits)
    for frame, target in enumerate(targets):
        if not len(target.masks):
            continue
        small = F.interpolate(
            target.masks[:, None].float(), (height, width), mode="bilinear", align_corners=False
        )[:, 0]
        for label, mask in zip(target.labels, small > 0.5, strict=True):
            truth[frame, label - 1] = torch.maximum(truth[frame, label - 1], mask.float())
    error = F.binary_cross_entropy_with_logits(logits, truth, reduction="sum")
    return settings.semantic_segmentation_alpha / num_frames * error / (height * width)
