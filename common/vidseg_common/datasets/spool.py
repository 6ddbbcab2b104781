"""Records set aside on disk while a file is read, to be fetched again in another order."""

from __future__ import annotations

import marshal
import os
import tempfile
from array import array
from dataclasses import fields
from typing import Any

from vidseg_common.datasets.annotations import Track

__all__ = ["Spool", "TrackSpool"]

_TRACK_FIELDS = tuple(field.name for field in fields(Track))


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
        data = marshal.dumps(record)
        self._file.write(data)
        self._is_flushed = False
        self._starts.append(self._starts[-1] + len(data))
        return len(self) - 1

    def __getitem__(self, position: int) -> Any:
        if not self._is_flushed:
            self._file.flush()
            self._is_flushed = True
        start, end = self._starts[position], self._starts[position + 1]
        return marshal.loads(os.pread(self._file.fileno(), end - start, start))


class TrackSpool:
    """A list of tracks that only grows and lies on disk."""

    def __init__(self) -> None:
        self._records = Spool()

    def append(self, track: Track) -> int:
        """Adds a track and returns its position."""
        return self._records.append([getattr(track, name) for name in _TRACK_FIELDS])

    def __getitem__(self, position: int) -> Track:
        return Track(*self._records[position])
