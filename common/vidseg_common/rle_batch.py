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
    numbers, owner, too_long = _numbers_of([mask["counts"] for mask in kept])
    runs, place = _runs_of(numbers, owner)
    sums = np.zeros(len(kept), np.int64)
    np.add.at(sums, owner, runs)
    sizes = np.array([mask["size"] for mask in kept], np.int64).reshape(-1, 2)
    bad = (sums != sizes.prod(axis=1)) | (sizes < 0).any(axis=1)
    bad[too_long] = True
    bad[owner[runs < 0]] = True
    uneven = np.zeros(len(kept), bool)
    uneven[owner[(runs == 0) & (place > 0)]] = True
    whole[readable[bad]] = False
    return MaskCheck(np.flatnonzero(~whole).tolist(), readable[uneven & ~bad].tolist())


def _is_string_of_numbers(text: str) -> bool:
    """Whether all characters are of the alphabet and the last number is not cut off."""
    if not text.isascii() or text.encode("ascii").translate(None, _ALPHABET):
        return False
    return not text or text[-1] < _FIRST_CONTINUED


def _numbers_of(strings: Sequence[str]) -> tuple[Numbers, Numbers, Numbers]:
    """Signed numbers of all strings, the string of each, and strings with one too long."""
    codes = np.frombuffer("".join(strings).encode("ascii"), np.uint8) - np.uint8(48)
    ends = np.flatnonzero(codes < 32)
    starts = np.concatenate([[0], ends + 1])[: len(ends)]
    lengths = ends - starts + 1
    numbers = np.zeros(len(ends), np.int64)
    for k in range(min(int(lengths.max(initial=0)), _LONGEST_NUMBER)):
        longer = np.flatnonzero(lengths > k)
        numbers[longer] |= (codes[starts[longer] + k] & 31).astype(np.int64) << (5 * k)
    shift = 5 * np.minimum(lengths, _LONGEST_NUMBER)
    numbers -= ((codes[ends] & 16) > 0) * (np.int64(1) << shift)
    borders = np.cumsum([len(text) for text in strings], dtype=np.int64)
    counts = np.diff(np.searchsorted(ends, borders), prepend=0)
    owner = np.repeat(np.arange(len(strings)), counts)
    return numbers, owner, owner[lengths > _LONGEST_NUMBER]


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
