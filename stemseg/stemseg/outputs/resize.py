"""Masks of instances at the size of the video, from label maps. Source: spec section 9.

The result is that of two bilinear enlargements of whole maps, one to the network's input and one
from there to the frame, but they are computed inside the box of each instance only.
Letters: K instances, H and W rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemseg.inference.preprocess import FrameGeometry

MAP_STRIDE = 4
"""Pixels of the padded input per pixel of the network's maps."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class _Axis:
    """Where the values along one side of a resized map come from.

    Attributes:
        near: index of the first source, never descending.
        far: index of the second source, never descending.
        share: weight of the second source, 0..1.
    """

    near: NDArray[np.intp]
    far: NDArray[np.intp]
    share: Floats


@dataclass(frozen=True)
class _Patch:
    """A part of a map that is zero elsewhere and, unless it ends with the map, at its border.

    Attributes:
        values: (H, W).
        top: row of the first value.
        left: column of the first value.
    """

    values: Floats
    top: int
    left: int


def instance_masks(
    labels: NDArray[np.integer], wanted: Sequence[int], geometry: FrameGeometry
) -> NDArray[np.bool_]:
    """One mask per label, of the size of the frame.

    Args:
        labels: (H, W) label map at stride 4 of the padded input, or as large as it.
        wanted: labels in the order of the result.
        geometry: sizes of the frame.

    Returns:
        (K, H, W) bool.
    """
    masks = np.zeros((len(wanted), *geometry.image), np.bool_)
    for mask, label in zip(masks, wanted, strict=True):
        patch = _patch_of(labels == label)
        if patch is None:
            continue
        if labels.shape != geometry.padded:
            patch = _resize(patch, *(_axis(n, n * MAP_STRIDE) for n in labels.shape))
        patch = _cut(patch, geometry.network)
        sides = zip(geometry.network, geometry.image, strict=True)
        patch = _resize(patch, *(_axis(source, target) for source, target in sides))
        height, width = patch.values.shape
        rows, columns = slice(patch.top, patch.top + height), slice(patch.left, patch.left + width)
        mask[rows, columns] = patch.values > 0.5
    return masks


def _patch_of(mask: NDArray[np.bool_]) -> _Patch | None:
    """The box of a mask with a border of zeros; None for an empty one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    top, left = max(int(rows[0]) - 1, 0), max(int(columns[0]) - 1, 0)
    values = mask[top : int(rows[-1]) + 2, left : int(columns[-1]) + 2]
    return _Patch(values.astype(np.float32), top, left)


def _cut(patch: _Patch, size: tuple[int, int]) -> _Patch:
    """What lies within a map of size (H, W)."""
    values = patch.values[: max(size[0] - patch.top, 0), : max(size[1] - patch.left, 0)]
    return _Patch(values, patch.top, patch.left)


def _resize(patch: _Patch, rows: _Axis, columns: _Axis) -> _Patch:
    """The part of the resized map that the patch has a share in."""
    if not patch.values.size:
        return _Patch(np.zeros((0, 0), np.float32), 0, 0)
    left, near, far, share = _sources(columns, patch.left, patch.values.shape[1])
    values = patch.values[:, near] * (1 - share) + patch.values[:, far] * share
    top, near, far, share = _sources(rows, patch.top, patch.values.shape[0])
    share = share[:, None]
    return _Patch(values[near] * (1 - share) + values[far] * share, top, left)


def _sources(
    axis: _Axis, start: int, size: int
) -> tuple[int, NDArray[np.intp], NDArray[np.intp], Floats]:
    """First result that a patch has a share in, and sources and weights from there on."""
    first = int(np.searchsorted(axis.far, start))
    stop = int(np.searchsorted(axis.near, start + size))
    chosen = slice(first, stop)
    # Sources beside the patch are zero, and so is its border.
    near, far = ((x[chosen] - start).clip(0, size - 1) for x in (axis.near, axis.far))
    return first, near, far, axis.share[chosen]


@lru_cache(maxsize=32)
def _axis(size: int, resized: int) -> _Axis:
    """Bilinear resizing between pixel centres, in float32 as PyTorch does it."""
    step = np.float32(size / resized)
    place = np.maximum((np.arange(resized, dtype=np.float32) + np.float32(0.5)) * step, 0.5)
    place = (place - np.float32(0.5)).astype(np.float32)
    near = np.minimum(place.astype(np.intp), size - 1)
    return _Axis(near, np.minimum(near + 1, size - 1), place - near.astype(np.float32))
