"""J and F of one frame, exact and fast: region overlap and boundary agreement of two masks.

Everything is counting of bits. A mask is cropped to what is set in it or in its partner and its
pixels are packed into 64-bit words, row by row, with as many zero bits after every row as the
search radius: moving the whole by some bits moves the mask sideways without one row reaching
another, moving it by rows is slicing. The result equals full-frame arithmetic bit for bit,
because the radius is that of the full frame and outside the crop both masks are empty.
Source: spec common section 4.1; the measures are those of DAVIS (Perazzi et al., CVPR 2016).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vidseg_common.errors import MaskError

# One pixel is needed for boundaries above and left of a mask; two as the specification has it.
_MARGIN = 2
_BOUNDARY_FRACTION = 0.008
_WORD = 64

Mask = NDArray[np.bool_]
Words = NDArray[np.uint64]
Box = tuple[int, int, int, int]


def boundary_radius(shape: tuple[int, int]) -> int:
    """Search radius in pixels for frames of (height, width): 0.008 of the diagonal, rounded up."""
    return math.ceil(_BOUNDARY_FRACTION * math.sqrt(shape[0] ** 2 + shape[1] ** 2))


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """Pixel counts of one pair of masks, from which J and F follow.

    Attributes:
        intersection: pixels in both masks.
        union: pixels in either mask.
        gt_edge: boundary pixels of the ground truth.
        pred_edge: boundary pixels of the prediction.
        gt_hits: those of the ground truth within the radius of one of the prediction.
        pred_hits: those of the prediction within the radius of one of the ground truth.
    """

    intersection: int
    union: int
    gt_edge: int
    pred_edge: int
    gt_hits: int
    pred_hits: int

    @property
    def j(self) -> float:
        """Region similarity, intersection over union; 1 where both masks are empty."""
        return self.intersection / self.union if self.union else 1.0

    @property
    def f(self) -> float:
        """Boundary accuracy, harmonic mean of precision and recall of the boundary pixels."""
        if not self.gt_edge or not self.pred_edge:
            return 1.0 if self.gt_edge == self.pred_edge else 0.0
        precision = self.pred_hits / self.pred_edge
        recall = self.gt_hits / self.gt_edge
        if precision + recall == 0:
            return 0.0
        return 2 * precision * recall / (precision + recall)


@dataclass(frozen=True)
class PackedMask:
    """A mask and its boundary, one bit per pixel.

    Attributes:
        pixels: (h, words) uint64, the mask.
        edge: its boundary map.
        radius: search radius in pixels.
    """

    pixels: Words
    edge: Words
    radius: int

    @cached_property
    def area(self) -> int:
        """Number of pixels."""
        return _count(self.pixels)

    @cached_property
    def edge_length(self) -> int:
        """Number of boundary pixels."""
        return _count(self.edge)

    @cached_property
    def reach(self) -> Words:
        """All pixels within the radius of the boundary (computed once, when first needed)."""
        return _dilate(self.edge, self.radius)


def pack_mask(mask: Mask, radius: int) -> PackedMask:
    """Packs a mask; masks of one shape and radius can be compared with each other.

    Args:
        mask: (h, w) bool: the frame, or a crop of it that leaves two pixels around all masks
            wherever it does not touch the border of the frame.
        radius: search radius of the full frame, 1 or more.
    """
    height, width = mask.shape
    stride = -(-(width + radius) // _WORD) * _WORD
    # The last row and column are repeated, so that nothing differs across the frame's border.
    rows = np.zeros((height + 1, stride), np.bool_)
    rows[:height, :width] = mask
    rows[height] = rows[height - 1]
    rows[:, width] = rows[:, width - 1]
    bits = _pack(rows)
    right = _shift_down(bits, 1)
    here = bits[:-1]
    edge = (here ^ right[:-1]) | (here ^ bits[1:]) | (here ^ right[1:])
    inside = _pack((np.arange(stride) < width)[None])
    return PackedMask(here & inside, edge & inside, radius)


def _pack(rows: Mask) -> Words:
    return np.packbits(rows, axis=-1, bitorder="little").view("<u8")


def _count(words: Words) -> int:
    return int(np.bitwise_count(words).sum())


def _shift_up(words: Words, distance: int) -> Words:
    """Moves all pixels to the right by 0 < distance < 64; carries pass from word to word."""
    moved = words << np.uint64(distance)
    moved.reshape(-1)[1:] |= words.reshape(-1)[:-1] >> np.uint64(_WORD - distance)
    return moved


def _shift_down(words: Words, distance: int) -> Words:
    """Moves all pixels to the left by 0 < distance < 64; carries pass from word to word."""
    moved = words >> np.uint64(distance)
    moved.reshape(-1)[:-1] |= words.reshape(-1)[1:] << np.uint64(_WORD - distance)
    return moved


def _dilate(edge: Words, radius: int) -> Words:
    """Spreads every bit over the disc dy^2 + dx^2 <= radius^2.

    The disc is a stack of horizontal bars, which grow from the pole (dy = radius) to the
    equator: each is the last one, widened. What leaves a row lands in the zero bits after it and
    is never counted.
    """
    height = len(edge)
    bar, half = edge, 0
    spread = np.zeros_like(edge)
    for dy in range(radius, 0, -1):
        bar, half = _widen(bar, half, math.isqrt(radius * radius - dy * dy))
        if dy < height:
            spread[dy:] |= bar[:-dy]
            spread[:-dy] |= bar[dy:]
    bar, _ = _widen(bar, half, radius)
    spread |= bar
    return spread


def _widen(bar: Words, half: int, target: int) -> tuple[Words, int]:
    """Widens bars of `half` pixels on both sides to `target`, each step as far as has no gap."""
    while half < target:
        step = min(target - half, 2 * half + 1, _WORD - 1)
        bar = bar | _shift_up(bar, step) | _shift_down(bar, step)
        half += step
    return bar, half


def compare_packed(gt: PackedMask, pred: PackedMask) -> FrameCounts:
    """Counts what J and F need; both masks packed from the same crop."""
    assert gt.pixels.shape == pred.pixels.shape, "packed from different crops"
    intersection = _count(gt.pixels & pred.pixels)
    both = bool(gt.edge_length and pred.edge_length)
    return FrameCounts(
        intersection=intersection,
        union=gt.area + pred.area - intersection,
        gt_edge=gt.edge_length,
        pred_edge=pred.edge_length,
        gt_hits=_count(gt.edge & pred.reach) if both else 0,
        pred_hits=_count(pred.edge & gt.reach) if both else 0,
    )


def widen_box(boxes: Sequence[Box], shape: tuple[int, int]) -> Box:
    """Box around all boxes and two pixels more, cut at the frame.

    Args:
        boxes: (left, top, right, bottom) each, the last two exclusive.
        shape: (height, width) of the frame.
    """
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return (
        max(min(lefts) - _MARGIN, 0),
        max(min(tops) - _MARGIN, 0),
        min(max(rights) + _MARGIN, shape[1]),
        min(max(bottoms) + _MARGIN, shape[0]),
    )


def content_box(mask: Mask) -> Box | None:
    """Box (left, top, right, bottom) of what is set in a (H, W) mask; None if it is empty."""
    # Over columns a bitwise reduction works on whole rows at once; over rows `any` is faster.
    columns = np.flatnonzero(np.bitwise_or.reduce(mask.view(np.uint8), axis=0))
    if not len(columns):
        return None
    left, right = int(columns[0]), int(columns[-1]) + 1
    rows = np.flatnonzero(mask[:, left:right].any(axis=1))
    return left, int(rows[0]), right, int(rows[-1]) + 1


def count_frame(gt: Mask, pred: Mask, radius: int) -> FrameCounts:
    """Counts what J and F need for two (H, W) bool masks, cropping to what is set in them.

    Args:
        gt: ground truth, the frame or a crop as `pack_mask` wants it.
        pred: prediction of the same shape.
        radius: search radius of the full frame.
    """
    boxes = [box for box in (content_box(gt), content_box(pred)) if box]
    if not boxes:
        return FrameCounts(0, 0, 0, 0, 0, 0)
    left, top, right, bottom = widen_box(boxes, (gt.shape[0], gt.shape[1]))
    box = (slice(top, bottom), slice(left, right))
    return compare_packed(pack_mask(gt[box], radius), pack_mask(pred[box], radius))


def jf_frame(
    gt: NDArray[np.generic],
    pred: NDArray[np.generic],
    void: NDArray[np.generic] | None = None,
) -> tuple[float, float]:
    """J and F of one frame of one object.

    Args:
        gt: (H, W), non-zero where the object is.
        pred: prediction of the same shape.
        void: pixels without label, taken out of both masks.

    Returns:
        J and F, both in 0..1.

    Raises:
        MaskError: shapes differ (nothing is resized).
    """
    shapes = [array.shape for array in (gt, pred, void) if array is not None]
    if len(set(shapes)) != 1 or len(shapes[0]) != 2:
        raise MaskError(f"masks of one frame must have one shape (H, W), not {shapes}")
    masks = [np.ascontiguousarray(array).astype(bool) for array in (gt, pred)]
    if void is not None:
        masks = [mask & ~np.asarray(void).astype(bool) for mask in masks]
    counts = count_frame(masks[0], masks[1], boundary_radius((gt.shape[0], gt.shape[1])))
    return counts.j, counts.f
