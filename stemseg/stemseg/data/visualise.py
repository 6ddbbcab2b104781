"""Pictures of training clips, to see what a network is given. Source: spec 5.3.

Letters: H rows, W columns. Pictures are (H, W, 3) uint8 in the order blue, green, red.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from stemseg.data.collate import Batch
from stemseg.drawing import color_of, overlay_mask
from stemseg.inference.preprocess import InputRule, to_picture

OPACITY = 0.5
_IGNORE_COLOR = (255, 255, 255)


@dataclass(frozen=True)
class FrameViews:
    """Three pictures of one frame: its instances, what is ignored, its classes."""

    instances: np.ndarray
    ignore: np.ndarray
    classes: np.ndarray

    def items(self) -> Iterator[tuple[str, np.ndarray]]:
        """Names and pictures."""
        yield from (
            ("instances", self.instances),
            ("ignore", self.ignore),
            ("classes", self.classes),
        )


def class_map(masks: torch.Tensor, category_ids: torch.Tensor) -> torch.Tensor:
    """(..., H, W) int64 of (I, ..., H, W) masks: the highest class where they overlap, or 0."""
    if not len(masks):
        return torch.zeros(masks.shape[1:], dtype=torch.int64)
    shape = (len(masks),) + (1,) * (masks.ndim - 1)
    return (masks * category_ids.view(shape)).amax(0)


def clip_views(batch: Batch, index: int, rule: InputRule) -> Iterator[FrameViews]:
    """Pictures of every frame of a clip, without its padding.

    Args:
        batch: clips.
        index: which of them.
        rule: how frames were normalised.
    """
    height, width = batch.sizes[index]
    target = batch.targets[index]
    masks = target.masks[..., :height, :width]
    classes = class_map(masks, target.category_ids)
    for t, frame in enumerate(batch.images[index, ..., :height, :width]):
        picture = to_picture(frame, rule)
        instances, colored = picture, picture
        for number, mask in enumerate(masks[:, t], start=1):
            instances = overlay_mask(instances, mask.numpy(), color_of(number), OPACITY)
        for category in classes[t].unique().tolist():
            if category:
                inside = (classes[t] == category).numpy()
                colored = overlay_mask(colored, inside, color_of(category), OPACITY)
        ignore = target.ignore_masks[t, :height, :width].numpy()
        yield FrameViews(instances, overlay_mask(picture, ignore, _IGNORE_COLOR, OPACITY), colored)
