"""Records set aside on disk while a file is read, to be fetched again in another order."""

from __future__ import annotations

import os
import pickle
import tempfile
from array import array
from typing import Any

__all__ = ["Spool"]


class Spool:
    """A list of records that only grows and lies in a nameless temporary file.

    Fetching is safe in forked workers: it does not move the position of the file.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the spool
        self._starts = array("Q", [0])
        self._is_flushed = True

    def __len__(self) -> int:
        return len(self._starts) - 1

    def append(self, record: Any) -> int:
        """Adds a record of plain Python values and returns its position."""
        data = pickle.dumps(record, protocol=pickle.HIGHEST_PROTOCOL)
        self._file.write(data)
        self._is_flushed = False
        self._starts.append(self._starts[-1] + len(data))
        return len(self) - 1

    def __getitem__(self, position: int) -> Any:
        if not self._is_flushed:
            self._file.flush()
            self._is_flushed = True
        start, end = self._starts[position], self._starts[position + 1]
        return pickle.loads(os.pread(self._file.fileno(), end - start, start))
