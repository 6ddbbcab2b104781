"""Run-length strings decoded many at a time; `rle` has the codec of a single mask.

What is malformed is only told apart from what is good: `rle.counts_of` says what is wrong.
M masks, N pairs of runs. Source: spec common section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["are_good", "decode_runs"]

Ints = NDArray[np.integer[Any]]

_MOST_GROUPS = 7  # 5-bit groups of a run of at most 2^32 pixels


def are_good(strings: Sequence[str], num_pixels: int) -> bool:
    """Tells whether all strings are well-formed and of masks of one size.

    Args:
        strings: M of them.
        num_pixels: H * W.
    """
    if not strings:
        return True
    decoded = decode_runs(strings, np.int64)
    if decoded is None:
        return False
    runs, lengths, _ = decoded
    starts = lengths.cumsum() - lengths
    totals = np.add.reduceat(runs.sum(axis=0), starts)
    return bool(runs.min() >= 0 and (totals == num_pixels).all())


def decode_runs(
    strings: Sequence[str], dtype: type[np.integer[Any]]
) -> tuple[Ints, NDArray[np.int64], NDArray[np.bool_]] | None:
    """Decodes many run-length strings at once (see `rle.string_to_counts` for the code).

    Args:
        strings: M of them.
        dtype: of the result.

    Returns:
        Runs of zeros and of ones (2, N), the masks one after the other; number of columns of each
        mask (M,); and whether a mask ended with a run of zeros (M,), to which a run of no ones is
        added here. None where a string is malformed.
    """
    sizes = np.fromiter(map(len, strings), np.int64, len(strings))
    try:
        codes = np.frombuffer("".join(strings).encode("ascii"), np.uint8) - np.uint8(48)
    except UnicodeEncodeError:
        return None
    stops = sizes.cumsum()
    if not sizes.all() or codes.max() > 63 or (codes[stops - 1] > 31).any():
        return None
    is_last = codes < 32  # the group of 5 bits that ends a number and has its sign
    before = np.flatnonzero(~is_last)
    num_before = np.diff(np.searchsorted(before, stops), prepend=0)
    lengths = sizes - num_before
    values = ((codes[is_last] ^ 16) - np.uint8(16)).view(np.int8)
    is_odd = (lengths & 1).astype(bool)
    numbers = np.zeros(len(values) + int(is_odd.sum()), dtype)
    if is_odd.any():
        is_given = np.ones(len(numbers), bool)
        is_given[((lengths + is_odd).cumsum() - 1)[is_odd]] = False
        numbers[is_given] = values
    else:
        numbers[:] = values
    if len(before):
        added = is_odd.cumsum() - is_odd
        if not _add_low_groups(numbers, codes, before, np.repeat(added, num_before)):
            return None
    lengths = (lengths + is_odd) // 2
    runs = np.stack([numbers[::2], numbers[1::2]])
    _undo_differences(runs, lengths, is_odd)
    return runs, lengths, is_odd


def _add_low_groups(
    numbers: Ints, codes: NDArray[np.uint8], before: NDArray[np.int64], shifts: NDArray[np.int64]
) -> bool:
    """Completes the numbers that have more than one group of 5 bits.

    Args:
        numbers: holds the last group of every number; changed in place.
        codes: all groups.
        before: places of the groups that are not the last of their number.
        shifts: for each of these, how many numbers were put in before.

    Returns:
        False where a number is too large.
    """
    order = np.arange(len(before))
    starts = np.flatnonzero(np.diff(before, prepend=-2) != 1)
    widths = np.diff(starts, append=len(before))
    if widths.max() >= _MOST_GROUPS:
        return False
    place = order - np.repeat(starts, widths)
    low = np.add.reduceat((codes[before] & 31).astype(np.int64) << (5 * place), starts)
    index = (before - order + shifts)[starts]
    whole = (numbers[index].astype(np.int64) << (5 * widths)) + low
    if np.abs(whole).max() > np.iinfo(numbers.dtype).max:
        return False
    numbers[index] = whole
    return True


def _undo_differences(runs: Ints, lengths: NDArray[np.int64], is_odd: NDArray[np.bool_]) -> None:
    """Turns differences to the run before the last into runs, from the fourth run on.

    Args:
        runs: (2, N), changed in place.
        lengths: (M,) columns of each mask.
        is_odd: (M,) masks whose last run of ones was added here and is to be 0.
    """
    stops = lengths.cumsum()
    starts = stops - lengths
    first = runs[0, starts]  # stands alone: the third run is no difference to it
    runs[0, starts] = 0
    for row in runs:
        sums = row.cumsum(dtype=row.dtype)
        base = np.append(row.dtype.type(0), sums)[starts]
        row[:] = sums - np.repeat(base, lengths)
    runs[0, starts] = first
    runs[1, stops[is_odd] - 1] = 0
