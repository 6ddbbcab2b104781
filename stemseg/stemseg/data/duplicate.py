"""A second instance pasted beside the only one of a clip. Source: spec 7.5.

Clips with one instance teach nothing about telling instances apart. Letters: T frames, H rows,
W columns. Boxes are (left, top, right, bottom), the last two exclusive.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Box = tuple[int, int, int, int]

_WIDE, _NARROW = 0.4, 0.2  # of the side of the frame
_LARGEST_SHIFT = 0.3  # of the side of the frame


@dataclass(frozen=True)
class Duplication:
    """A clip with two instances.

    Attributes:
        images: T frames, (H, W, 3) uint8.
        original: T masks of the first instance, (H, W) uint8, without what is covered.
        copy: T masks of the pasted one.
    """

    images: list[np.ndarray]
    original: list[np.ndarray]
    copy: list[np.ndarray]


@dataclass(frozen=True)
class _Plan:
    """Direction of the shift, the same in all frames, and whether the copy is mirrored."""

    across: int
    down: int
    mirror: bool


def duplicate_instance(
    images: Sequence[np.ndarray], masks: Sequence[np.ndarray], rng: random.Random
) -> Duplication | None:
    """Pastes a shifted copy of an instance into every frame.

    Args:
        images: T frames, (H, W, 3) uint8; not changed.
        masks: T masks, (H, W) uint8, 0 or 1; not changed.
        rng: source of the draws.

    Returns:
        The clip with two instances; None where the instance spans the width of the frame, so
        that there is no room.
    """
    height, width = masks[0].shape
    boxes = [_box(mask) for mask in masks]
    plan = _plan([box for box in boxes if box is not None], width, height, rng)
    if plan is None:
        return None
    clip = Duplication([], [], [])
    for image, mask, box in zip(images, masks, boxes, strict=True):
        pasted = (image, mask, mask.copy())
        if box is not None:
            pasted = _paste(image, mask, box, plan, rng)
        for frames, frame in zip((clip.images, clip.original, clip.copy), pasted, strict=True):
            frames.append(frame)
    return clip


def _box(mask: np.ndarray) -> Box | None:
    left, top, width, height = cv2.boundingRect(mask)
    return (left, top, left + width, top + height) if width else None


def _plan(boxes: Sequence[Box], width: int, height: int, rng: random.Random) -> _Plan | None:
    """Draws what all frames share; None where there is no room."""
    across = _direction([(box[0], box[2]) for box in boxes], width)
    down = _direction([(box[1], box[3]) for box in boxes], height)
    at_left, at_right = any(b[0] == 0 for b in boxes), any(b[2] == width for b in boxes)
    if at_left and at_right:
        return None
    if any(b[1] == 0 for b in boxes) and any(b[3] == height for b in boxes):
        down = 0
    if across is None:
        across = _draw_sign(rng)
    if down is None:
        down = _draw_sign(rng)
    mirror = not (at_left or at_right) and rng.random() < 0.5
    return _Plan(across, down, mirror)


def _direction(spans: Sequence[tuple[int, int]], side: int) -> int | None:
    """Direction that the extents of the boxes along one axis ask for; later frames override."""
    direction = None
    for start, end in spans:
        if end - start > _WIDE * side:
            if start == 0:
                direction = -1
            if end == side:
                direction = 1
        elif end - start < _NARROW * side:
            center = (start + end) / 2
            if center < side / 4:
                direction = 1
            elif center > 3 * side / 4:
                direction = -1
    return direction


def _draw_sign(rng: random.Random) -> int:
    return -1 if rng.random() < 0.5 else 1


def _paste(
    image: np.ndarray, mask: np.ndarray, box: Box, plan: _Plan, rng: random.Random
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frame, remaining mask and mask of the copy; shift and size jitter from frame to frame."""
    left, top, right, bottom = box
    height, width = mask.shape
    shift_x = plan.across * (right - left) * (0.75 + 0.25 * rng.random())
    shift_y = plan.down * (bottom - top) * 0.25 * rng.random()
    # Shifts to the left and up have no limit in the original either.
    shift_x, shift_y = min(shift_x, _LARGEST_SHIFT * width), min(shift_y, _LARGEST_SHIFT * height)
    source, source_mask = image, mask
    if plan.mirror:
        source, source_mask = image.copy(), mask.copy()
        source[top:bottom, left:right] = image[top:bottom, left:right][:, ::-1]
        source_mask[top:bottom, left:right] = mask[top:bottom, left:right][:, ::-1]
    matrix = np.array([[1, 0, shift_x], [0, 1, shift_y]], np.float64)
    copy = (cv2.warpAffine(source_mask, matrix, (width, height)) > 0).astype(np.uint8)
    covered = copy > 0
    pasted = image.copy()
    pasted[covered] = cv2.warpAffine(source, matrix, (width, height))[covered]
    return pasted, np.where(covered, 0, mask).astype(np.uint8), copy
