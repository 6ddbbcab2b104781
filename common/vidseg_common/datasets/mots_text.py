"""Sequences of text read all at once, where nothing is wrong with them.

Nearly every file is good. Its lines become columns, which are checked together; of any other
file nothing is returned, and `mots_files` reads it line by line to say what is wrong.
Source: spec common section 1.5.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidseg_common.rle_batch import all_disjoint

__all__ = ["MotsColumns", "good_columns"]

_NUM_FIELDS = 6
_MOST_DIGITS = 9
Ints = NDArray[np.int64]


class MotsColumns(NamedTuple):
    """The objects of a sequence, sorted by frame, then id; N objects.

    Attributes:
        frames: N numbers of frames, as the file counts them.
        ids: N ids.
        classes: N numbers of classes.
        size: (H, W) of all masks.
        counts: N run-length strings.
    """

    frames: list[int]
    ids: list[int]
    classes: list[int]
    size: tuple[int, int]
    counts: list[str]


def good_columns(
    text: str, frames: tuple[int, int | None], classes: Collection[int]
) -> MotsColumns | None:
    """Reads the text of a sequence.

    Args:
        text: of the file.
        frames: number of the first frame, and of the one after the last (None: not known).
        classes: numbers of the classes that there are.

    Returns:
        None where a line is not of the form, a frame outside of the sequence, an id twice in a
        frame, or a mask malformed, not canonical, of another size or not free of others.
    """
    rows = [line.split() for line in text.splitlines()]
    if not rows or any(len(row) != _NUM_FIELDS for row in rows):
        return None
    *words, strings = zip(*rows, strict=True)
    if not all("".join(column).isdecimal() for column in words):
        return None
    if max(map(len, (word for column in words for word in set(column)))) > _MOST_DIGITS:
        return None
    number, ids, kinds, height, width = (
        np.fromiter(map(int, column), np.int64, len(rows)) for column in words
    )
    first, stop = frames
    order = np.lexsort((ids, number))
    if not _is_one_sequence(number[order], ids[order], first, stop):
        return None
    size = int(height[0]), int(width[0])
    if (height != size[0]).any() or (width != size[1]).any() or set(kinds.tolist()) - set(classes):
        return None
    if not all_disjoint(strings, size[0] * size[1], number):
        return None
    return MotsColumns(
        frames=number[order].tolist(),
        ids=ids[order].tolist(),
        classes=kinds[order].tolist(),
        size=size,
        counts=[strings[position] for position in order.tolist()],
    )


def _is_one_sequence(frames: Ints, ids: Ints, first: int, stop: int | None) -> bool:
    """Whether frames, which are sorted, lie inside the sequence and no id is in one twice."""
    inside = frames[0] >= first and (stop is None or frames[-1] < stop)
    return bool(inside and ((np.diff(frames) > 0) | (np.diff(ids) > 0)).all())
