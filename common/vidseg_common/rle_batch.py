"""Run-length strings decoded many at a time, for files that hold thousands of masks.

Decoding masks one by one takes longer than scoring them, so all strings are decoded together.
What is malformed is only told apart from what is good: `rle.counts_of` says what is wrong.
M masks, N pairs of runs. Source: spec common section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from vidseg_common import rle
from vidseg_common.errors import MaskError
from vidseg_common.rle import RLE

__all__ = [
    "MaskCheck",
    "Runs",
    "all_disjoint",
    "any_overlap",
    "are_good",
    "canonical",
    "check_masks",
    "decode_runs",
]

Ints = NDArray[np.integer[Any]]

_FIRST_CONTINUED = 48 + 32
_MOST_GROUPS = 7  # 5-bit groups of a run of at most 2^32 pixels
_ALPHABET = range(48, 112)
# Last groups of numbers as signed bytes; groups that are not the last of theirs are deleted.
_LAST_GROUPS = bytes((code - 48 ^ 16) - 16 & 255 if code in _ALPHABET else 0 for code in range(256))
_OTHER_GROUPS = bytes(range(_FIRST_CONTINUED, 112))
# Added to every string: a run of ones, of no pixels, or what is deleted where none is missing.
_PAD, _NO_PAD = "0", ord("o")


class MaskCheck(NamedTuple):
    """Positions of masks that need care, ascending.

    Attributes:
        malformed: `rle.counts_of` raises for them.
        uneven: valid, but with runs of length zero inside, which end pycocotools' comparison of
            two masks too early.
    """

    malformed: list[int]
    uneven: list[int]


class Runs(NamedTuple):
    """The runs of many masks, one after the other.

    Attributes:
        values: (2 N,) lengths of runs of zeros and of ones by turns.
        lengths: (M,) pairs of runs of each mask.
        is_padded: (M,) the last run of ones was added here and is 0.
    """

    values: Ints
    lengths: NDArray[np.int64]
    is_padded: NDArray[np.bool_]

    def fill(self, num_pixels: int | NDArray[np.int64]) -> bool:
        """Tells whether the runs of every mask are such of so many pixels, or of (M,) numbers."""
        if not len(self.lengths):
            return True
        starts = 2 * (self.lengths.cumsum() - self.lengths)
        totals = np.add.reduceat(self.values, starts, dtype=np.int64)
        return bool(
            self.values.min() >= 0
            # Without this, the sum of numbers from elsewhere might wrap around.
            and self.values.max() <= np.max(num_pixels)
            and (totals == num_pixels).all()
        )

    def empty_inside(self) -> NDArray[np.int64]:
        """Places of runs of length zero, but for the first of a mask and the one added here."""
        stops = 2 * self.lengths.cumsum()
        is_empty = self.values == 0
        is_empty[stops - 2 * self.lengths] = False
        is_empty[stops[self.is_padded] - 1] = False
        return np.flatnonzero(is_empty)


def are_good(strings: Sequence[str], num_pixels: int) -> bool:
    """Tells whether all strings are well-formed and of masks of one size.

    Args:
        strings: M of them.
        num_pixels: H * W, below 2^31.
    """
    runs = decode_runs(strings)
    return runs is not None and runs.fill(num_pixels)


def check_masks(masks: Sequence[RLE]) -> MaskCheck:
    """Checks that strings are well formed and fill the size of their mask.

    Args:
        masks: masks with string counts and sizes of two whole numbers.
    """
    uneven = _uneven(masks)
    if uneven is not None:
        return MaskCheck([], uneven)
    good, malformed = [], []
    for position, mask in enumerate(masks):
        try:
            has_zeros = (rle.counts_of(mask)[1:] == 0).any()
        except MaskError:
            malformed.append(position)
        else:
            good += [position] * bool(has_zeros)
    return MaskCheck(malformed, good)


def _uneven(masks: Sequence[RLE]) -> list[int] | None:
    """Masks with runs of length zero inside, None where a mask is malformed or has no pixels."""
    runs = decode_runs([mask["counts"] for mask in masks])
    sizes = np.array([mask["size"] for mask in masks], np.int64).reshape(-1, 2)
    if runs is None or (sizes <= 0).any() or not runs.fill(sizes.prod(axis=1)):
        return None
    owners = np.searchsorted(2 * runs.lengths.cumsum(), runs.empty_inside(), side="right")
    return [int(owner) for owner in np.unique(owners)]


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


def all_disjoint(strings: Sequence[str], num_pixels: int, groups: NDArray[np.int64]) -> bool:
    """Tells whether masks are well-formed, canonical and, within their group, free of each other.

    Args:
        strings: M of them.
        num_pixels: H * W of all masks.
        groups: (M,) numbers of groups, such as frames.
    """
    runs = decode_runs(strings)
    if runs is None or not runs.fill(num_pixels) or len(runs.empty_inside()):
        return False
    _, places = np.unique(groups, return_inverse=True)
    lengths = runs.lengths
    offsets = places.astype(np.int64) * num_pixels - np.arange(len(lengths)) * num_pixels
    ends = runs.values.cumsum(dtype=np.int64)[1::2] + np.repeat(offsets, lengths)
    ones = runs.values[1::2]
    starts, ends = (ends - ones)[ones > 0], ends[ones > 0]
    order = np.argsort(starts, kind="stable")
    return bool((starts[order[1:]] >= ends[order[:-1]]).all())


def decode_runs(strings: Sequence[str] | Sequence[bytes]) -> Runs | None:
    """Decodes many run-length strings at once (see `rle.string_to_counts` for the code).

    Args:
        strings: M of them, all of one type.

    Returns:
        The runs, some of them negative where the string says so. None where a string is empty,
        malformed or has a number that does not fit into 32 bits.
    """
    if not strings:
        return Runs(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, bool))
    text = _joined(strings)
    sizes = np.fromiter(map(len, strings), np.int64, len(strings))
    codes = np.frombuffer(text, np.uint8)
    pads = (sizes + 1).cumsum() - 1
    if codes.min() < 48 or codes.max() > 111 or not sizes.all():
        return None
    if len(codes) != pads[-1] + 1 or (codes[pads - 1] >= _FIRST_CONTINUED).any():
        return None
    before = np.flatnonzero(codes >= _FIRST_CONTINUED)
    num_before = np.diff(np.searchsorted(before, pads), prepend=0)
    lengths = sizes - num_before
    is_padded = (lengths & 1).astype(bool)
    shifts = None
    if not is_padded.all():
        padded = np.array(codes)
        padded[pads[~is_padded]] = _NO_PAD
        text = padded.tobytes()
        left_out = (~is_padded).cumsum()
        shifts = np.repeat(left_out - ~is_padded, num_before)
    numbers = np.frombuffer(text.translate(_LAST_GROUPS, _OTHER_GROUPS), np.int8).astype(np.int32)
    if not _add_low_groups(numbers, codes, before, shifts):
        return None
    lengths = (lengths + is_padded) // 2
    return Runs(_without_differences(numbers, lengths, is_padded), lengths, is_padded)


def _joined(strings: Sequence[str] | Sequence[bytes]) -> bytes:
    """All strings, each with a padding; empty where one has a character beyond ASCII."""
    if isinstance(strings[0], bytes):
        return _PAD.encode().join([*strings, b""])
    text = _PAD.join([*strings, ""])
    return text.encode("ascii", "replace")  # "?" is not in the alphabet


def _add_low_groups(
    numbers: Ints, codes: NDArray[np.uint8], before: NDArray[np.int64], shifts: Ints | None
) -> bool:
    """Completes the numbers that have more than one group of 5 bits.

    Args:
        numbers: holds the last group of every number; changed in place.
        codes: all groups, as characters.
        before: places of the groups that are not the last of their number.
        shifts: for each of these, how many characters before it were left out; None for none.

    Returns:
        False where a number is too large.
    """
    index = before - np.arange(len(before))
    if shifts is not None:
        index -= shifts
    following = codes[before + 1] >= _FIRST_CONTINUED
    low = codes[before] - np.uint8(48) & np.uint8(31)
    # From the last group of a number to its first, those of all numbers at a time.
    chosen = np.flatnonzero(~following)
    for num_groups in range(2, _MOST_GROUPS + 1):
        if not len(chosen):
            return True
        places = index[chosen]
        values = (numbers[places].astype(np.int64) << 5) + low[chosen]
        if num_groups == _MOST_GROUPS and np.abs(values).max() > np.iinfo(numbers.dtype).max:
            return False
        numbers[places] = values
        chosen = chosen[chosen > 0] - 1
        chosen = chosen[following[chosen]]
    return not len(chosen)


def _without_differences(
    numbers: NDArray[np.int32], lengths: NDArray[np.int64], is_padded: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Turns differences to the run before the last into runs, from the fourth run on.

    Args:
        numbers: (2 N,), changed in place.
        lengths: (M,) pairs of each mask.
        is_padded: (M,) masks whose last run of ones is 0.
    """
    stops = lengths.cumsum()
    starts = stops - lengths
    first = numbers[2 * starts]  # stands alone: the third run is no difference to it
    numbers[2 * starts] = 0
    # Runs of zeros and of ones are two running sums, made in the two halves of wide numbers: right
    # until one is negative, which shows and is an error anyway.
    pairs = numbers.view(np.int64)
    pairs -= (pairs & (1 << 31)) << 1
    sums = np.add.reduceat(pairs, starts)
    pairs[starts[1:]] -= sums[:-1]
    runs = pairs.cumsum().view(np.int32)
    runs[2 * starts] = first
    runs[2 * stops[is_padded] - 1] = 0
    return runs
