"""Soft masks enlarged bilinearly and cut at one half, computed only where something is set.

Letters: n masks, h and w their size, H and W the size of the result.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: What is above it is set.
THRESHOLD = 0.5


def enlarge(masks: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Resizes soft masks bilinearly (corners not aligned) and binarises them.

    An enlarged pixel lies between four small ones and cannot exceed the largest of them, so each
    mask is enlarged within the window of its pixels above the threshold alone.

    Args:
        masks: (n, h, w) in [0, 1].
        size: (H, W) of the result, larger or smaller.

    Returns:
        (n, H, W).
    """
    result = np.zeros((len(masks), *size), np.bool_)
    if not result.size or not masks.size:
        return result
    down, across = (_Axis(*lengths) for lengths in zip(masks.shape[1:], size, strict=True))
    is_set = masks > THRESHOLD
    in_rows, in_columns = (np.asarray(is_set.any(axis=axis)) for axis in (2, 1))
    for i in np.flatnonzero(in_rows.any(1)):
        rows, high = down.window(in_rows[i])
        columns, wide = across.window(in_columns[i])
        small = masks[i, rows, columns]
        large = down.weights[high, rows] @ small @ across.weights[wide, columns].T
        result[i, high, wide] = large > THRESHOLD
    return result


class _Axis:
    """Bilinear interpolation along one axis.

    Args:
        old: length of the masks.
        new: length of the result.

    Attributes:
        weights: (new, old), in each row the shares of the two neighbours.
    """

    def __init__(self, old: int, new: int) -> None:
        positions = np.maximum((np.arange(new) + 0.5) * (old / new) - 0.5, 0)
        self._low = np.minimum(positions.astype(np.int64), old - 1)
        self._high = np.minimum(self._low + 1, old - 1)
        share = (positions - self._low).astype(np.float32)
        self.weights = np.zeros((new, old), np.float32)
        np.add.at(self.weights, (np.arange(new), self._low), 1 - share)
        np.add.at(self.weights, (np.arange(new), self._high), share)

    def window(self, is_set: NDArray[np.bool_]) -> tuple[slice, slice]:
        """The part of the mask to read and the part of the result to write.

        Args:
            is_set: (old,) flags, one at least.
        """
        places = np.flatnonzero(is_set)
        start = int(np.searchsorted(self._high, places[0], side="left"))
        stop = int(np.searchsorted(self._low, places[-1], side="right"))
        if start >= stop:  # shrunk, and between two samples
            return slice(0, 0), slice(0, 0)
        return slice(int(self._low[start]), int(self._high[stop - 1]) + 1), slice(start, stop)
