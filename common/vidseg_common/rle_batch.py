"""Checks of many run-length encoded masks at once, for files that hold thousands of them.

Decoding masks one by one to check them takes longer than scoring them, so all strings are decoded
together. Whatever looks wrong is left to `rle.counts_of`, which says what it is.
Source: spec common section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from vidseg_common import rle
from vidseg_common.rle import RLE

__all__ = ["MaskCheck", "any_overlap", "canonical", "check_masks"]

_LONGEST_NUMBER = 7
Numbers = NDArray[np.int64]


class MaskCheck(NamedTuple):
    """Positions of masks that need care, ascending.

    Attributes:
        malformed: `rle.counts_of` raises for them.
        uneven: valid, but with runs of length zero inside, which end pycocotools' comparison of
            two masks too early.
    """

    malformed: list[int]
    uneven: list[int]


def check_masks(masks: Sequence[RLE]) -> MaskCheck:
    """Checks that strings are well formed and fill the size of their mask.

    Args:
        masks: masks with string counts and sizes of two whole numbers.
    """
    joined = "".join(mask["counts"] for mask in masks)
    # Every character must be one code below; what is not ASCII is wrong in any case.
    codes = np.frombuffer(joined.encode("ascii", "replace"), np.uint8).astype(np.int64) - 48
    lengths = np.array([len(mask["counts"]) for mask in masks], np.int64)
    owner = np.repeat(np.arange(len(masks)), lengths)
    bad = np.zeros(len(masks), bool)
    bad[owner[(codes < 0) | (codes > 63)]] = True
    bad[[i for i, mask in enumerate(masks) if not mask["counts"].isascii()]] = True
    some = lengths > 0
    bad[some] |= codes[lengths.cumsum()[some] - 1] >= 32
    keep = ~bad[owner]
    numbers, number_owner, too_long = _numbers_of(codes[keep], owner[keep])
    bad[too_long] = True
    runs, place = _runs_of(numbers, number_owner)
    sums = np.zeros(len(masks), np.int64)
    np.add.at(sums, number_owner, runs)
    sizes = np.array([mask["size"] for mask in masks], np.int64).reshape(-1, 2)
    bad |= (sums != sizes.prod(axis=1)) | (sizes < 0).any(axis=1)
    bad[number_owner[runs < 0]] = True
    uneven = np.zeros(len(masks), bool)
    uneven[number_owner[(runs == 0) & (place > 0)]] = True
    return MaskCheck(np.flatnonzero(bad).tolist(), np.flatnonzero(uneven & ~bad).tolist())


def _numbers_of(codes: Numbers, owner: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Signed numbers of all strings, the mask of each, and the masks with one that is too long."""
    ends = np.flatnonzero(codes < 32)
    if not len(ends):
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, nothing
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    # Too long a number is wrong whatever its value; the shift must only stay within 64 bits.
    place = np.minimum(np.arange(len(codes)) - np.repeat(starts, lengths), _LONGEST_NUMBER)
    numbers = np.add.reduceat((codes & 31) << (5 * place), starts)
    shift = 5 * np.minimum(lengths, _LONGEST_NUMBER)
    numbers -= np.where(codes[ends] & 16, np.int64(1) << shift, 0)
    return numbers, owner[ends], owner[ends[lengths > _LONGEST_NUMBER]]


def _runs_of(numbers: Numbers, owner: Numbers) -> tuple[Numbers, Numbers]:
    """Run lengths from the numbers of all strings, and the place of each in its mask."""
    if not len(numbers):
        return numbers, numbers
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    lengths = np.diff(first, append=len(numbers))
    place = np.arange(len(numbers)) - np.repeat(first, lengths)
    runs = numbers.copy()
    # Differences reach two back, so odd and even runs are two running sums; run 0 stands alone.
    for chain, start in ((place % 2 == 1, 1), ((place % 2 == 0) & (place > 0), 2)):
        part = numbers[chain]
        total = part.cumsum()
        begins = np.flatnonzero(place[chain] == start)
        before = (total - part)[begins]
        runs[chain] = total - np.repeat(before, np.diff(begins, append=len(part)))
    return runs, place


def canonical(masks: Sequence[RLE]) -> list[RLE]:
    """The masks without runs of length zero inside; those that have none come back as they are.

    Raises:
        MaskError: a malformed mask.
    """
    check = check_masks(masks)
    for position in check.malformed:
        rle.counts_of(masks[position])
    cleaned = list(masks)
    for position in check.uneven:
        cleaned[position] = rle.merge([masks[position]])
    return cleaned


def any_overlap(masks: Sequence[RLE]) -> bool:
    """Tells whether any pixel belongs to two masks, far faster than by looking at runs.

    Args:
        masks: canonical masks of one size.
    """
    if len(masks) < 2:
        return False
    union = int(coco_mask.area(coco_mask.merge(masks)))
    return union < int(coco_mask.area(masks).sum())
