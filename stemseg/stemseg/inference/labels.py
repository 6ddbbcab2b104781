"""Label maps of a whole video, kept on disk, and what is counted about every label.

Letters: H, W rows and columns of a map; a map holds 0 for background and -1 for outliers.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemseg.inference.cluster import OUTLIER
from vidseg_common.datasets.spool import Spool

LabelMap = NDArray[np.integer]


class LabelStore:
    """Label maps in the order of frames; memory does not grow with their number."""

    def __init__(self) -> None:
        self._spool = Spool()

    def __len__(self) -> int:
        return len(self._spool)

    def append(self, labels: LabelMap) -> None:
        """Adds the (H, W) map of the next frame."""
        fits = labels.size == 0 or abs(labels).max() < np.iinfo(np.int16).max
        narrow = np.ascontiguousarray(labels, np.int16 if fits else np.int32)
        data = zlib.compress(narrow.tobytes(), level=1)
        self._spool.append((narrow.dtype.str, narrow.shape, data))

    def __getitem__(self, frame: int) -> LabelMap:
        dtype, shape, data = self._spool[frame]
        return np.frombuffer(zlib.decompress(data), dtype).reshape(shape)


@dataclass
class LabelStatistic:
    """How often and when a label occurs.

    Attributes:
        num_pixels: over all frames, at the scale of the maps.
        first: first frame.
        last: last frame.
    """

    num_pixels: int
    first: int
    last: int

    @property
    def lifetime(self) -> int:
        """Last frame - first frame."""
        return self.last - self.first


class TrackStatistics:
    """Statistics of all labels, outliers included, in the order of first appearance."""

    def __init__(self) -> None:
        self.of_label: dict[int, LabelStatistic] = {}

    def add(self, frame: int, labels: LabelMap) -> None:
        """Counts the map of a frame."""
        counts = np.bincount(labels.reshape(-1) - OUTLIER)
        for value in (np.flatnonzero(counts) + OUTLIER).tolist():
            if value == 0:
                continue
            count = int(counts[value - OUTLIER])
            known = self.of_label.setdefault(value, LabelStatistic(0, frame, frame))
            known.num_pixels += count
            known.last = frame

    @property
    def tracks(self) -> dict[int, LabelStatistic]:
        """All labels but outliers."""
        return {label: x for label, x in self.of_label.items() if label != OUTLIER}

    def by_lifetime(self, limit: int) -> list[int]:
        """At most `limit` labels, the longest-lived first; ties in order of appearance."""
        tracks = self.tracks
        return sorted(tracks, key=lambda label: -tracks[label].lifetime)[:limit]

    def by_pixels(self, limit: int) -> list[int]:
        """At most `limit` labels, the largest first; ties in order of appearance."""
        tracks = self.tracks
        return sorted(tracks, key=lambda label: -tracks[label].num_pixels)[:limit]


def statistics_of(maps: Iterable[LabelMap]) -> TrackStatistics:
    """Statistics of label maps given in the order of frames."""
    statistics = TrackStatistics()
    for frame, labels in enumerate(maps):
        statistics.add(frame, labels)
    return statistics
