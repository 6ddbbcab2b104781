"""Detections of a frame from the outputs of the heads (spec 2.7 and 3.3).

Letters: n proposals, m detections, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vatrack.inference.settings import InferenceSettings
from vatrack.model.boxes import decode
from vatrack.model.nms import multiclass_nms
from vatrack.model.settings import ModelSettings


@dataclass(frozen=True)
class Detections:
    """What is found in a frame, in pixels of the frame.

    Attributes:
        boxes: (m, 5) with scores; amodal ones in the joint models.
        labels: (m,) from 0.
        visible_boxes: (m, 5), in the two-box model.
    """

    boxes: Tensor
    labels: Tensor
    visible_boxes: Tensor | None = None


def detections(
    boxes: Tensor,
    outputs: tuple[Tensor, Tensor],
    img_hw: tuple[int, int],
    scale_factor: Tensor,
    model: ModelSettings,
    settings: InferenceSettings,
) -> tuple[Tensor, Tensor]:
    """Boxes (m, 5) in pixels of the frame, best first, and labels (m,).

    Args:
        boxes: (n, 4 or more) proposals at the scale of the network.
        outputs: logits (n, K+1) and deltas (n, K*4) of the box head.
        img_hw: size of the resized frame.
        scale_factor: (4,) of the resize.
        model: of the network.
        settings: of inference.
    """
    logits, deltas = outputs
    # Few of the boxes of all classes are wanted, and each is decoded by itself.
    scores = logits.softmax(-1)
    is_wanted = scores[:, :-1] > settings.score_thr
    rows = torch.nonzero(is_wanted.any(1))[:, 0]
    decoded = decode(boxes[rows, :4], deltas[rows], model.rcnn_stds, img_hw)
    scaled = (decoded.unflatten(1, (-1, 4)) / scale_factor).flatten(1)
    return multiclass_nms(
        scaled, scores[rows], settings.score_thr, settings.nms_iou_thr, settings.max_per_img
    )


def visible_boxes(
    found: tuple[Tensor, Tensor],
    outputs: tuple[Tensor, Tensor],
    img_hw: tuple[int, int],
    scale_factor: Tensor,
    model: ModelSettings,
    settings: InferenceSettings,
) -> Detections:
    """The visible box of every amodal detection; the order is reversed, as the original has it.

    Args:
        found: boxes (m, 5) and labels (m,) of `detections`.
        outputs: logits (m, K+1) and deltas (m, K*4) of the visible head for these boxes.
        img_hw: size of the resized frame.
        scale_factor: (4,) of the resize.
        model: of the network.
        settings: of inference.
    """
    boxes, labels = found
    logits, deltas = outputs
    best, best_label = logits.softmax(-1)[:, :-1].max(1)
    chosen = deltas.unflatten(1, (-1, 4))[torch.arange(len(boxes), device=boxes.device), best_label]
    decoded = decode(boxes[:, :4] * scale_factor, chosen, model.rcnn_stds, img_hw) / scale_factor
    has_any = (best > settings.score_thr)[:, None]
    visible = torch.cat([torch.where(has_any, decoded, boxes[:, :4]), boxes[:, 4:]], 1)
    return Detections(boxes.flip(0), labels.flip(0), visible.flip(0))
