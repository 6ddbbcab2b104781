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
class PackedMasks:
    """Masks of one frame and their boundaries, one bit per pixel; any two can be compared.

    Attributes:
        pixels: (N, h, words) uint64, the masks.
        edge: their boundary maps.
        radius: search radius in pixels.
    """

    pixels: Words
    edge: Words
    radius: int

    @cached_property
    def areas(self) -> list[int]:
        """Number of pixels of every mask."""
        return _count_each(self.pixels)

    @cached_property
    def edge_lengths(self) -> list[int]:
        """Number of boundary pixels of every mask."""
        return _count_each(self.edge)

    @cached_property
    def reach(self) -> Words:
        """All pixels within the radius of the boundaries (computed once, when first needed)."""
        return _dilate(self.edge, self.radius)

    def compare(self, gt: int, pred: int) -> FrameCounts:
        """Counts what J and F need of the masks at two positions."""
        intersection = _count(self.pixels[gt] & self.pixels[pred])
        edges = self.edge_lengths
        both = bool(edges[gt] and edges[pred])
        return FrameCounts(
            intersection=intersection,
            union=self.areas[gt] + self.areas[pred] - intersection,
            gt_edge=edges[gt],
            pred_edge=edges[pred],
            gt_hits=_count(self.edge[gt] & self.reach[pred]) if both else 0,
            pred_hits=_count(self.edge[pred] & self.reach[gt]) if both else 0,
        )


def pack_masks(masks: Mask, radius: int) -> PackedMasks:
    """Packs masks of one frame.

    Args:
        masks: (N, h, w) bool: the frame, or a crop of it that leaves two pixels around all masks
            wherever it does not touch the border of the frame.
        radius: search radius of the full frame, 1 or more.
    """
    number, height, width = masks.shape
    stride = -(-(width + radius) // _WORD) * _WORD
    # The last row and column are repeated, so that nothing differs across the frame's border.
    rows = np.zeros((number, height + 1, stride), np.bool_)
    rows[:, :height, :width] = masks
    rows[:, height] = rows[:, height - 1]
    rows[:, :, width] = rows[:, :, width - 1]
    bits = _pack(rows)
    right = _shift_down(bits, 1)
    here = bits[:, :-1]
    edge = here ^ right[:, :-1]
    edge |= here ^ bits[:, 1:]
    edge |= here ^ right[:, 1:]
    inside = _pack(np.arange(stride) < width)
    edge &= inside
    return PackedMasks(here & inside, edge, radius)


def _pack(rows: Mask) -> Words:
    return np.packbits(rows, axis=-1, bitorder="little").view("<u8")


def _count(words: Words) -> int:
    return int(np.bitwise_count(words).sum())


def _count_each(words: Words) -> list[int]:
    return [int(count) for count in np.bitwise_count(words).sum(axis=(1, 2), dtype=np.int64)]


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
    height = edge.shape[1]
    bar, half = edge, 0
    spread = np.zeros_like(edge)
    for dy in range(radius, 0, -1):
        bar, half = _widen(bar, half, math.isqrt(radius * radius - dy * dy))
        if dy < height:
            spread[:, dy:] |= bar[:, :-dy]
            spread[:, :-dy] |= bar[:, dy:]
    bar, _ = _widen(bar, half, radius)
    spread |= bar
    return spread


def spread_pixels(picture: Mask, radius: int) -> Mask:
    """Every pixel within the radius of a set one; nothing outside the picture is set.

    Args:
        picture: (H, W) bool.
        radius: 1 or more.
    """
    height, width = picture.shape
    rows = np.zeros((1, height, -(-(width + radius) // _WORD) * _WORD), np.bool_)
    rows[0, :, :width] = picture
    reach = _dilate(_pack(rows), radius)[0].view(np.uint8)
    return np.unpackbits(reach, axis=-1, bitorder="little")[:, :width].view(np.bool_)


def _widen(bar: Words, half: int, target: int) -> tuple[Words, int]:
    """Widens bars of `half` pixels on both sides to `target`, each step as far as has no gap."""
    while half < target:
        step = min(target - half, 2 * half + 1, _WORD - 1)
        wider = _shift_up(bar, step)
        wider |= _shift_down(bar, step)
        wider |= bar
        bar, half = wider, half + step
    return bar, half


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


def count_pair(masks: Mask, radius: int) -> FrameCounts:
    """Counts what J and F need of two masks, cropping to what is set in them.

    Args:
        masks: (2, H, W) bool, ground truth and prediction: the frame or a crop as `pack_masks`
            wants it.
        radius: search radius of the full frame.
    """
    content = content_box(masks[0] | masks[1])
    if content is None:
        return FrameCounts(0, 0, 0, 0, 0, 0)
    left, top, right, bottom = widen_box([content], (masks.shape[1], masks.shape[2]))
    return pack_masks(masks[:, top:bottom, left:right], radius).compare(0, 1)


def region_similarity(gt: Mask, pred: Mask) -> float:
    """J of two (H, W) masks alone, without their boundaries."""
    union = int(np.count_nonzero(gt | pred))
    return int(np.count_nonzero(gt & pred)) / union if union else 1.0


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
    masks = np.stack([np.asarray(gt), np.asarray(pred)]).astype(bool)
    if void is not None:
        masks &= ~np.asarray(void).astype(bool)
    counts = count_pair(masks, boundary_radius((gt.shape[0], gt.shape[1])))
    return counts.j, counts.f
