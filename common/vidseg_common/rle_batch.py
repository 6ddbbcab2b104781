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
_ALPHABET = bytes(range(48, 112))
_FIRST_CONTINUED = chr(48 + 32)
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
    whole = np.array([_is_string_of_numbers(mask["counts"]) for mask in masks], bool)
    readable = np.flatnonzero(whole)
    kept = [mask for mask, is_whole in zip(masks, whole, strict=True) if is_whole]
    numbers, counts, is_long = _numbers_of([mask["counts"] for mask in kept])
    runs = _runs_of(numbers, counts)
    owner = np.repeat(np.arange(len(kept)), counts)
    sums = np.zeros(len(kept), np.int64)
    np.add.at(sums, owner, runs)
    sizes = np.array([mask["size"] for mask in kept], np.int64).reshape(-1, 2)
    bad = (sums != sizes.prod(axis=1)) | (sizes < 0).any(axis=1)
    bad[owner[is_long | (runs < 0)]] = True
    inside = runs == 0
    inside[(counts.cumsum() - counts)[counts > 0]] = False  # the first run of a mask may be empty
    uneven = np.zeros(len(kept), bool)
    uneven[owner[inside]] = True
    whole[readable[bad]] = False
    return MaskCheck(np.flatnonzero(~whole).tolist(), readable[uneven & ~bad].tolist())


def _is_string_of_numbers(text: str) -> bool:
    """Whether all characters are of the alphabet and the last number is not cut off."""
    if not text.isascii() or text.encode("ascii").translate(None, _ALPHABET):
        return False
    return not text or text[-1] < _FIRST_CONTINUED


def _numbers_of(strings: Sequence[str]) -> tuple[Numbers, Numbers, NDArray[np.bool_]]:
    """Signed numbers of all strings, how many each has, and which numbers are too long."""
    codes = np.frombuffer("".join(strings).encode("ascii"), np.uint8) - np.uint8(48)
    ends = np.flatnonzero(codes < 32)
    starts = np.concatenate([[0], ends + 1])[: len(ends)]
    lengths = ends - starts + 1
    numbers = (codes[starts] & 31).astype(np.int64)
    for k in range(1, min(int(lengths.max(initial=1)), _LONGEST_NUMBER)):
        longer = np.flatnonzero(lengths > k)
        numbers[longer] |= (codes[starts[longer] + k] & 31).astype(np.int64) << (5 * k)
    negative = np.flatnonzero(codes[ends] & 16)
    numbers[negative] -= np.int64(1) << (5 * np.minimum(lengths[negative], _LONGEST_NUMBER))
    borders = np.cumsum([len(text) for text in strings], dtype=np.int64)
    counts = np.diff(np.searchsorted(ends, borders), prepend=0)
    return numbers, counts, lengths > _LONGEST_NUMBER


def _runs_of(numbers: Numbers, counts: Numbers) -> Numbers:
    """Run lengths from the numbers of all strings, of which each mask has so many."""
    # Differences reach two back, so even and odd runs are two running sums: the two columns of a
    # table in which every mask begins a row. The first run stands alone.
    rows = (counts + 1) // 2
    begin = (rows.cumsum() - rows)[counts > 0]
    table = np.zeros((int(rows.sum()), 2), np.int64)
    before = counts.cumsum() - counts
    gaps = np.repeat(2 * (rows.cumsum() - rows) - before, counts)
    places = np.arange(len(numbers)) + gaps
    table.reshape(-1)[places] = numbers
    first = table[begin, 0].copy()
    table[begin, 0] = 0
    total = table.cumsum(axis=0)
    total -= np.repeat(total[begin] - table[begin], rows[counts > 0], axis=0)
    total[begin, 0] = first
    return total.reshape(-1)[places]


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
