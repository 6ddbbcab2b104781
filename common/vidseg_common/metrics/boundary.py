"""J and F of one frame, exact and fast: region overlap and boundary agreement of two masks.

Everything is integer counting on bits. A mask is cropped to what is set in it or in its partner,
its rows are laid end to end with as many zero columns between them as the search radius, and the
whole becomes one Python integer: shifting it by 1 or by the row length moves the mask by a pixel,
`&` and `bit_count` count. The result equals full-frame arithmetic bit for bit, because a radius
is that of the full frame and outside the crop both masks are empty.
Source: spec common section 4.1; the measures are those of DAVIS (Perazzi et al., CVPR 2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vidseg_common.errors import MaskError

# One pixel is needed for boundaries above and left of a mask; two as the specification has it.
_MARGIN = 2
_BOUNDARY_FRACTION = 0.008

Mask = NDArray[np.bool_]
Box = tuple[slice, slice]


def boundary_radius(shape: tuple[int, int]) -> int:
    """Search radius in pixels for frames of (height, width): 0.008 of the diagonal, rounded up."""
    return math.ceil(_BOUNDARY_FRACTION * math.sqrt(shape[0] ** 2 + shape[1] ** 2))


def boundary_map(mask: Mask) -> Mask:
    """Marks pixels that differ from their right, lower or lower-right neighbour.

    The frame itself is no boundary: the last row is only compared to the right, the last column
    only downwards.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool.
    """
    edge = np.zeros(mask.shape, np.bool_)
    np.not_equal(mask[:, 1:], mask[:, :-1], out=edge[:, :-1])
    edge[:-1] |= mask[1:] != mask[:-1]
    edge[:-1, :-1] |= mask[1:, 1:] != mask[:-1, :-1]
    return edge


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
    """A mask and its boundary as integers, one bit per pixel.

    Attributes:
        pixels: the mask.
        edge: its boundary map.
        stride: bits per row, at least width + radius.
        radius: search radius in pixels.
    """

    pixels: int
    edge: int
    stride: int
    radius: int

    @cached_property
    def area(self) -> int:
        """Number of pixels."""
        return self.pixels.bit_count()

    @cached_property
    def edge_length(self) -> int:
        """Number of boundary pixels."""
        return self.edge.bit_count()

    @cached_property
    def reach(self) -> int:
        """All pixels within the radius of the boundary (computed once, when first needed)."""
        return _dilate(self.edge, self.stride, self.radius)


def pack_mask(mask: Mask, radius: int) -> PackedMask:
    """Packs a mask; masks of one shape and radius can be compared with each other.

    Args:
        mask: (h, w) bool: the frame, or a crop of it that leaves two pixels around all masks
            wherever it does not touch the border of the frame.
        radius: search radius of the full frame.
    """
    height, width = mask.shape
    stride = width + radius
    rows = np.zeros((2, height, stride), np.bool_)
    rows[0, :, :width] = mask
    rows[1, :, :width] = boundary_map(mask)
    return PackedMask(_to_int(rows[0]), _to_int(rows[1]), stride, radius)


def _to_int(rows: Mask) -> int:
    return int.from_bytes(np.packbits(rows.reshape(-1), bitorder="little").tobytes(), "little")


def _dilate(bits: int, stride: int, radius: int) -> int:
    """Spreads every bit over the disc dy^2 + dx^2 <= radius^2.

    The disc is a stack of horizontal bars; bars grow from the pole (dy = radius) to the equator,
    so each is the last one widened by a few shifts. What leaves the rows lands in the zero
    columns between them or beyond the ends and is never counted.
    """
    bar, half, spread = bits, 0, 0
    for dy in range(radius, -1, -1):
        target = math.isqrt(radius * radius - dy * dy)
        while half < target:
            half += 1
            bar |= (bits << half) | (bits >> half)
        spread |= (bar << dy * stride) | (bar >> dy * stride)
    return spread


def compare_packed(gt: PackedMask, pred: PackedMask) -> FrameCounts:
    """Counts what J and F need; both masks packed from the same crop."""
    assert (gt.stride, gt.radius) == (pred.stride, pred.radius), "packed from different crops"
    intersection = (gt.pixels & pred.pixels).bit_count()
    both = bool(gt.edge_length and pred.edge_length)
    return FrameCounts(
        intersection=intersection,
        union=gt.area + pred.area - intersection,
        gt_edge=gt.edge_length,
        pred_edge=pred.edge_length,
        gt_hits=(gt.edge & pred.reach).bit_count() if both else 0,
        pred_hits=(pred.edge & gt.reach).bit_count() if both else 0,
    )


def content_box(*maps: NDArray[np.generic]) -> Box | None:
    """Box of all non-zero pixels of maps of one shape plus two pixels, cut at the frame.

    Args:
        maps: (H, W) uint8 or bool.

    Returns:
        Slices of rows and columns, None where nothing is set.
    """
    height, width = maps[0].shape
    views = [values.view(np.uint8) for values in maps]
    columns = np.flatnonzero(_any(views, axis=0))
    if not len(columns):
        return None
    left, right = max(columns[0] - _MARGIN, 0), min(columns[-1] + _MARGIN + 1, width)
    rows = np.flatnonzero(_any([view[:, left:right] for view in views], axis=1))
    top, bottom = max(rows[0] - _MARGIN, 0), min(rows[-1] + _MARGIN + 1, height)
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def _any(views: list[NDArray[np.uint8]], axis: int) -> NDArray[np.bool_]:
    # Along columns a bitwise reduction runs over whole rows at once, along rows `any` is faster.
    flags = [np.bitwise_or.reduce(v, axis=0) != 0 if axis == 0 else v.any(axis=1) for v in views]
    return np.logical_or.reduce(flags)


def count_frame(gt: Mask, pred: Mask, radius: int) -> FrameCounts:
    """Counts what J and F need for two (H, W) bool masks, cropping to what is set in them.

    Args:
        gt: ground truth, the frame or a crop as `pack_mask` wants it.
        pred: prediction of the same shape.
        radius: search radius of the full frame.
    """
    box = content_box(gt, pred)
    if box is None:
        return FrameCounts(0, 0, 0, 0, 0, 0)
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
