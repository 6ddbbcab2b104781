"""A training clip while it is transformed: frames, maps of instance numbers, boxes (spec 3.2).

T frames, n instances. Masks live in one map per frame, so they never overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from devis.data.resize import target_size
from vidseg_common import rle
from vidseg_common.errors import DatasetError

Image = NDArray[np.uint8]
Numbers = NDArray[np.uint16]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ClipSample:
    """A clip and its instances.

    Attributes:
        frames: T images (H, W, 3).
        numbers: T maps (H, W) of instance numbers from 1; 0 is the background.
        boxes: (T, n, 4) corners x, y, x, y in pixels; 0 where an instance is not.
        labels: (n) classes from 1.
        valid: (T, n) whether an instance is in a frame.
    """

    frames: Sequence[Image]
    numbers: Sequence[Numbers]
    boxes: Floats
    labels: NDArray[np.int64]
    valid: NDArray[np.bool_]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        height, width = self.frames[0].shape[:2]
        return height, width


def clip_sample(
    frames: Sequence[Image], annotations: Sequence[Mapping[str, Any]], indices: Sequence[int]
) -> ClipSample:
    """A clip from the annotations of its video; those of crowds are left out.

    Args:
        frames: T images of one size.
        annotations: of the video, with `category_id`, `bboxes` and `segmentations`.
        indices: T frame numbers in the video.

    Raises:
        DatasetError: a mask is not as large as its frame.
    """
    height, width = frames[0].shape[:2]
    used = [entry for entry in annotations if not entry.get("iscrowd", 0)]
    numbers = [np.zeros((height, width), np.uint16) for _ in indices]
    boxes = np.zeros((len(indices), len(used), 4), np.float32)
    valid = np.zeros((len(indices), len(used)), bool)
    for t, index in enumerate(indices):
        for i, entry in enumerate(used):
            box, mask = entry["bboxes"][index], entry["segmentations"][index]
            if not box or not mask:
                continue
            decoded = rle.decode(mask)
            if decoded.shape != (height, width):
                raise DatasetError(
                    f"annotation {entry.get('id')}, frame {index}: the mask has the size "
                    f"{decoded.shape}, expected that of the frame, {(height, width)}"
                )
            numbers[t][decoded] = i + 1
            x, y, w, h = box
            boxes[t, i] = np.clip([x, y, x + w, y + h], 0, [width, height, width, height])
            valid[t, i] = True
    labels = np.array([entry["category_id"] for entry in used], np.int64)
    return ClipSample(list(frames), numbers, boxes, labels, valid)


def flip(sample: ClipSample) -> ClipSample:
    """Left becomes right."""
    _, width = sample.size
    left, top, right, bottom = np.moveaxis(sample.boxes, -1, 0)
    boxes = np.stack([width - right, top, width - left, bottom], axis=-1).astype(np.float32)
    return replace(
        sample,
        frames=[np.ascontiguousarray(frame[:, ::-1]) for frame in sample.frames],
        numbers=[np.ascontiguousarray(number[:, ::-1]) for number in sample.numbers],
        boxes=boxes * sample.valid[..., None],
    )


def resize(sample: ClipSample, shorter: int, longest: int | None) -> ClipSample:
    """Frames with bilinear, maps with nearest interpolation.

    Args:
        sample: the clip.
        shorter: wanted length of the shorter side.
        longest: largest length of the longer side, which wins; None sets no limit.
    """
    before = sample.size
    height, width = target_size(*before, shorter, longest)
    if (height, width) == before:
        return sample
    scale = np.array([width / before[1], height / before[0]] * 2)  # rounded once
    size = (width, height)
    return replace(
        sample,
        frames=[
            np.asarray(cv2.resize(x, size, interpolation=cv2.INTER_LINEAR), np.uint8)
            for x in sample.frames
        ],
        numbers=[
            np.asarray(cv2.resize(x, size, interpolation=cv2.INTER_NEAREST), np.uint16)
            for x in sample.numbers
        ],
        boxes=(sample.boxes * scale).astype(np.float32),
    )


def crop(sample: ClipSample, top: int, left: int, height: int, width: int) -> ClipSample:
    """A part of every frame; what reaches beyond the frame is cut off."""
    inside = slice(top, top + height), slice(left, left + width)
    frames = [np.ascontiguousarray(frame[inside]) for frame in sample.frames]
    rows, columns = frames[0].shape[:2]
    moved = sample.boxes - np.array([left, top, left, top], np.float32)
    limits = np.array([columns, rows, columns, rows], np.float32)
    return replace(
        sample,
        frames=frames,
        numbers=[np.ascontiguousarray(number[inside]) for number in sample.numbers],
        boxes=np.clip(moved, 0, limits) * sample.valid[..., None],
    )
