"""Many small records in one buffer: quick to hand to worker processes, and shared by them."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar, overload

import numpy as np

T = TypeVar("T")


class PackedList(Sequence[T], Generic[T]):
    """A list whose items are kept as bytes and made anew at every access.

    A hundred thousand Python objects would be copied into every worker process, page by page,
    as their reference counts change; one array is not.

    Args:
        items: what to hold; has to pickle.
    """

    def __init__(self, items: Iterable[T]) -> None:
        parts = [pickle.dumps(item, protocol=pickle.HIGHEST_PROTOCOL) for item in items]
        self._ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        self._data = np.frombuffer(b"".join(parts), dtype=np.uint8)

    def __len__(self) -> int:
        """Number of items."""
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        """An item, or a list of several."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        item: T = pickle.loads(self._data[self._ends[place] : self._ends[place + 1]].tobytes())
        return item
