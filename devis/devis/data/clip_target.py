"""What a clip is trained on, from its transformed frames and maps (spec 4.3, end)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from devis.data.clip_sample import ClipSample, Floats, Numbers
from devis.data.resize import normalise

#: An instance with as few pixels in a frame is not there.
FEW_PIXELS = 2
#: Width and height of a box where there is nothing.
NO_SIZE = 1e-6


@dataclass(frozen=True)
class ClipTarget:
    """Instances of a clip: instance after instance, each frame after frame; m = n T entries.

    Attributes:
        masks: (m, H, W) bool.
        boxes: (m, 4) centre, width, height in 0 to 1; where an instance is not, that of its
            nearest frame without size.
        labels: (m) outputs of the class head, from 0.
        valid: (m) 0 or 1.
        area: (m) pixels.
        centroids: (m, 2) mean pixel, x and y in 0 to 1.
        size: height and width.
    """

    masks: Tensor
    boxes: Tensor
    labels: Tensor
    valid: Tensor
    area: Tensor
    centroids: Tensor
    size: tuple[int, int]


def clip_images(sample: ClipSample) -> Tensor:
    """The normalised frames one after the other, (3 T, H, W)."""
    return torch.cat([normalise(frame) for frame in sample.frames])


def clip_target(sample: ClipSample, *, boxes_from_masks: bool) -> ClipTarget:
    """The target of a clip; instances that are in no frame are left out.

    Args:
        sample: after all transforms.
        boxes_from_masks: compute boxes anew rather than keep those of the annotation.
    """
    height, width = sample.size
    scale = np.array([width, height, width, height], np.float32)
    boxes, valid = centred(sample.boxes) / scale, sample.valid.copy()
    area = np.zeros(valid.shape, np.int64)
    centroids = np.zeros((*valid.shape, 2), np.float32)
    for t, i in np.argwhere(valid):
        rows, columns = np.nonzero(sample.numbers[t] == i + 1)
        if len(rows) <= FEW_PIXELS:
            valid[t, i] = False
            continue
        area[t, i] = len(rows)
        centroids[t, i] = [int(columns.mean()), int(rows.mean())] / scale[:2]
        if boxes_from_masks:
            ends = [columns.min(), rows.min(), columns.max(), rows.max()]
            boxes[t, i] = centred(np.array(ends, np.float32)) / scale
    kept = np.flatnonzero(valid.any(0))
    filled = np.stack(
        [_filled(boxes[:, i], valid[:, i]) for i in kept] or [np.zeros((0, 4), np.float32)]
    )
    return ClipTarget(
        masks=_masks(sample.numbers, kept, valid),
        boxes=torch.from_numpy(filled.reshape(-1, 4)),
        labels=torch.from_numpy(np.repeat(sample.labels[kept] - 1, len(valid))),
        valid=_entries(valid, kept).long(),
        area=_entries(area, kept),
        centroids=_entries(centroids, kept),
        size=(height, width),
    )


def centred(boxes: Floats) -> Floats:
    """(..., 4) corners to centre, width and height."""
    left, top, right, bottom = np.moveaxis(boxes, -1, 0)
    parts = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    return np.stack(parts, axis=-1).astype(np.float32)


def _filled(boxes: Floats, valid: NDArray[np.bool_]) -> Floats:
    """(T, 4) boxes of an instance: in other frames that of the nearest one (the first of two)."""
    there = np.flatnonzero(valid)
    nearest = there[np.abs(np.arange(len(valid))[:, None] - there).argmin(1)]
    out = boxes[nearest]
    out[~valid, 2:] = NO_SIZE
    return out


def _entries(values: NDArray[np.generic], kept: NDArray[np.intp]) -> Tensor:
    """(T, n, ...) to (m, ...), instance after instance."""
    chosen = np.moveaxis(values[:, kept], 1, 0)
    return torch.from_numpy(np.ascontiguousarray(chosen).reshape(-1, *chosen.shape[2:]))


def _masks(numbers: Sequence[Numbers], kept: NDArray[np.intp], valid: NDArray[np.bool_]) -> Tensor:
    """(m, H, W) from the maps; empty in frames that are not valid."""
    maps = np.stack(numbers)  # T, H, W
    masks = np.stack([(maps == i + 1) & valid[:, i, None, None] for i in kept] or [maps[:0] > 0])
    return torch.from_numpy(masks.reshape(-1, *maps.shape[1:]))
