"""Detections at the size of the frame. Source: spec section 7.5.

Letters: n instances, H and W size of the result, h and w size of the prototypes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stmask.inference.detections import Detections
from stmask.inference.enlarge import enlarge
from stmask.inference.settings import InferenceSettings, settings_of
from stmask.model.boxes import sanitize


@dataclass(frozen=True)
class FrameResult:
    """The instances of one frame.

    Attributes:
        ids: (n,) int64, from 0 within a video.
        classes: (n,) int64, from 1.
        scores: (n,) float32.
        boxes: (n, 4) int64 corners (x1, y1, x2, y2) in pixels.
        masks: (n, H, W) bool; (n, 0, 0) where masks were not asked for.
    """

    ids: NDArray[np.int64]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]
    boxes: NDArray[np.int64]
    masks: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)


@torch.inference_mode()
def postprocess(
    detections: Detections,
    pad_hw: tuple[int, int],
    img_hw: tuple[int, int],
    ori_hw: tuple[int, int],
    cfg: Any,
) -> FrameResult:
    """Drops what is unsure or lies in the padding, and enlarges the rest.

    Args:
        detections: of a tracker.
        pad_hw: size of the network's input.
        img_hw: part of it that shows the frame.
        ori_hw: size of the frame.
        cfg: configuration or `InferenceSettings`; with `preserve_aspect_ratio` the result has the
            size of the frame, else that of its stretched form.
    """
    settings = settings_of(cfg)
    keep = detections.scores > settings.eval_conf_thresh
    part = img_hw[1] / pad_hw[1], img_hw[0] / pad_hw[0]  # of the width and of the height
    if settings.preserve_aspect_ratio:
        centres = (detections.boxes[:, :2] + detections.boxes[:, 2:]) / 2
        keep &= (centres <= centres.new_tensor(part)).all(1)
    shown = detections.take(keep)
    size = ori_hw if settings.preserve_aspect_ratio else img_hw
    boxes = sanitize(shown.boxes / shown.boxes.new_tensor([*part, *part]), size, 0)
    return FrameResult(
        ids=shown.ids.cpu().numpy(),
        classes=shown.classes.cpu().numpy(),
        scores=shown.scores.float().cpu().numpy(),
        boxes=boxes.long().cpu().numpy(),
        masks=_masks(shown.masks, part, size, settings),
    )


def _masks(
    masks: Tensor, part: tuple[float, float], size: tuple[int, int], settings: InferenceSettings
) -> NDArray[np.bool_]:
    """Binary masks (n, H, W) of soft ones (n, h, w), without the padding."""
    if not settings.eval_mask_branch:
        return np.zeros((len(masks), 0, 0), np.bool_)
    height, width = int(part[1] * masks.shape[1]), int(part[0] * masks.shape[2])
    return enlarge(masks[:, :height, :width].float().cpu().numpy(), size)
