"""Masks that may overlap into one id per pixel, and back.

Mask folders and MOTS give every pixel to one object. Where masks overlap, the track of the higher
score wins; without scores, the later track. Letters: H rows, W columns.
Source: spec common sections 1.5 and 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidseg_common.errors import MaskError
from vidseg_common.rle import RLE, counts_of, decode, encode

__all__ = ["has_overlap", "masks_of", "paint", "separate"]


def has_overlap(rles: Sequence[Mapping[str, Any] | None]) -> bool:
    """Tells whether any pixel belongs to two masks.

    Nothing is decoded: the runs of all masks are sorted, and neighbours compared.

    Args:
        rles: masks of one size; None counts as empty.

    Raises:
        MaskError: a malformed mask, or sizes that differ.
    """
    present = [rle for rle in rles if rle is not None]
    sizes = sorted({tuple(rle["size"]) for rle in present})
    if len(sizes) > 1:
        raise MaskError(f"masks of different sizes: {sizes}")
    if len(present) < 2:
        return False
    intervals = np.concatenate([_intervals(rle) for rle in present])
    intervals = intervals[np.argsort(intervals[:, 0])]
    return bool((intervals[:-1, 1] > intervals[1:, 0]).any())


def _intervals(rle: Mapping[str, Any]) -> NDArray[np.int64]:
    """First pixel and the one after the last of every run of ones, column by column: (R, 2)."""
    edges = counts_of(rle).cumsum()
    ends = edges[1::2]
    pairs = np.stack([edges[0::2][: len(ends)], ends], axis=1)
    return pairs[pairs[:, 0] < pairs[:, 1]]


def paint(
    rles: Sequence[Mapping[str, Any] | None],
    ids: Sequence[int],
    scores: Sequence[float | None],
    size: tuple[int, int],
) -> tuple[NDArray[np.int32], int]:
    """Joins masks into an id map.

    Args:
        rles: masks of one frame; None where the object is not visible.
        ids: id of each, not 0.
        scores: score of each, None for none; a mask without score is below every scored one.
            Of equal scores the earlier mask wins, of none the later.
        size: (H, W) of the frame.

    Returns:
        The (H, W) int32 id map, and how many pixels of masks another mask took.

    Raises:
        MaskError: a malformed mask, or one of another size.
    """
    joined = np.zeros(size, np.int32, order="F")
    claimed = 0
    for position in _worst_first(scores):
        rle = rles[position]
        if rle is None:
            continue
        mask = decode(rle)
        if mask.shape != tuple(size):
            raise MaskError(f"a mask of size {mask.shape} in a frame of size {tuple(size)}")
        claimed += int(np.count_nonzero(mask))
        joined[mask] = ids[position]
    return joined, claimed - int(np.count_nonzero(joined))


def _worst_first(scores: Sequence[float | None]) -> list[int]:
    def rank(position: int) -> tuple[float, int]:
        score = scores[position]
        return (-np.inf, position) if score is None else (score, -position)

    return sorted(range(len(scores)), key=rank)


def separate(
    rles: Sequence[RLE | None], scores: Sequence[float | None]
) -> tuple[list[RLE | None], int]:
    """Takes from every mask of a frame the pixels that another one wins.

    Masks that do not overlap come back as they are, character by character.

    Args:
        rles: masks of one size; None where the object is not visible.
        scores: as in `paint`.

    Returns:
        The masks in the same order, None where nothing is left, and how many pixels were taken.

    Raises:
        MaskError: a malformed mask, or sizes that differ.
    """
    if not has_overlap(rles):
        return list(rles), 0
    height, width = next(rle["size"] for rle in rles if rle is not None)
    numbers = range(1, len(rles) + 1)
    joined, taken = paint(rles, numbers, scores, (height, width))
    left = masks_of(joined)
    return [left.get(number) for number in numbers], taken


def masks_of(id_map: NDArray[np.integer]) -> dict[int, RLE]:
    """Encodes every object of an id map.

    Args:
        id_map: (H, W) integers, 0 is background.

    Returns:
        The mask of each id that occurs, by ascending id.
    """
    # Masks are encoded column by column, which is fast only if they lie so in memory.
    columns = np.asfortranarray(id_map)
    return {int(i): encode(columns == i) for i in _values(columns) if i != 0}


def _values(ids: NDArray[np.integer]) -> NDArray[np.integer]:
    """Different values, ascending; far faster than sorting all pixels where they come in runs."""
    flat = ids.reshape(-1, order="F")
    # The last pixel of every run but the last, and the last pixel of all.
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    return np.unique(np.concatenate([flat[ends], flat[-1:]]))
