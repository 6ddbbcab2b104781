"""Masks of detections as run lengths at the size of the frame (spec 2.8).

A mask is the bilinear enlargement of S x S probabilities to a box, so that only the pixels of the
box are computed, by one product per axis, and their runs become those of the frame without a
picture of the frame. Letters: n masks, S side of the logits, H and W size of the frame, h and w
size of a region.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vidseg_common import rle
from vidseg_common.rle import RLE

Floats = NDArray[np.float32]


def paste(
    prob: Floats, boxes: Floats, size_hw: tuple[int, int], threshold: float = 0.5
) -> list[RLE]:
    """Masks of the frame's size, by columns as COCO stores them.

    Args:
        prob: (n, S, S) probabilities.
        boxes: (n, 4 or more) corners in pixels of the frame; any, also outside of it.
        size_hw: (H, W).
        threshold: a pixel with at least this probability is set.

    Returns:
        n run-length encoded masks.
    """
    return [
        encode_region(*region(mask, box, size_hw, threshold), size_hw)
        for mask, box in zip(prob, boxes, strict=True)
    ]


def region(
    prob: Floats, box: Floats, size_hw: tuple[int, int], threshold: float = 0.5
) -> tuple[NDArray[np.bool_], int, int]:
    """The part of a mask that can be set.

    Args:
        prob: (S, S) probabilities.
        box: (4 or more,) corners.
        size_hw: (H, W) of the frame.
        threshold: a pixel with at least this probability is set.

    Returns:
        (w, h) flags, columns first; the column and the row in the frame where they begin.
    """
    values, left, top = soft_region(prob, box, size_hw)
    return values >= threshold, left, top


def soft_region(prob: Floats, box: Floats, size_hw: tuple[int, int]) -> tuple[Floats, int, int]:
    """As `region`, before the threshold: probabilities (w, h)."""
    side = prob.shape[-1]
    left, across = _axis(box[0], box[2], size_hw[1], side)
    top, down = _axis(box[1], box[3], size_hw[0], side)
    return (across @ prob.T) @ down.T, left, top


def _axis(low: np.float32, high: np.float32, length: int, side: int) -> tuple[int, Floats]:
    """First pixel of a box along an axis, and the shares (pixels, S) of the cells in each.

    The arithmetic is that of a grid with coordinates from -1 to 1, in float32, since its rounding
    decides pixels at the threshold. A box without extent has its middle everywhere.
    """
    if not (np.isfinite(low) and np.isfinite(high)):
        return 0, np.zeros((0, side), np.float32)
    start = min(max(int(np.floor(low)) - 1, 0), length)
    stop = max(min(int(np.ceil(high)) + 1, length), start)
    pixels = np.arange(start, stop, dtype=np.float32) + np.float32(0.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        grid = (pixels - low) / (high - low) * np.float32(2) - np.float32(1)
    grid[np.isinf(grid)] = 0
    places = ((grid + np.float32(1)) * np.float32(side) - np.float32(1)) / np.float32(2)
    # Every cell's share falls linearly to 0 at its neighbours; beyond the border there is nothing.
    distance = np.abs(places[:, None] - np.arange(side, dtype=np.float32))
    shares = np.maximum(np.float32(1) - distance, np.float32(0))
    return start, np.nan_to_num(shares, copy=False, nan=0.0)


def encode_region(columns: NDArray[np.bool_], left: int, top: int, size_hw: tuple[int, int]) -> RLE:
    """Run lengths of a frame in which only a region is set.

    Args:
        columns: (w, h) flags of the region, columns first.
        left: column of the frame where it begins.
        top: row where it begins.
        size_hw: (H, W) of the frame.
    """
    height, width = size_hw
    counts = _runs(columns, left, top, height, height * width)
    return {"size": [height, width], "counts": rle.counts_to_string(counts)}


def _runs(
    columns: NDArray[np.bool_], left: int, top: int, height: int, total: int
) -> NDArray[np.int64]:
    """Lengths of the runs of a frame, the first of zeros."""
    framed = np.zeros((columns.shape[0], columns.shape[1] + 2), np.bool_)
    framed[:, 1:-1] = columns
    changes = np.flatnonzero(framed[:, 1:] != framed[:, :-1])
    column, row = np.divmod(changes, columns.shape[1] + 1)
    edges = (left + column) * height + top + row  # begins and ends of runs by turns
    if columns.shape[1] == height:  # runs may go on in the next column
        meets = np.flatnonzero(edges[1:-1:2] == edges[2::2])
        edges = np.delete(edges, np.concatenate([2 * meets + 1, 2 * meets + 2]))
    counts = np.diff(edges, prepend=0, append=total)
    return counts if counts[-1] or len(counts) == 1 else counts[:-1]
