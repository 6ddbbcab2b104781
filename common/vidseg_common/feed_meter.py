"""How fast a training gets its samples, for its log lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

BatchT = TypeVar("BatchT")


@dataclass(frozen=True)
class FeedSpeed:
    """What a training got between two reports.

    Attributes:
        samples: of all processes in a second.
        waiting: part of the time that this process waited for its batches, 0 to 1. Near 0 the
            network is what takes the time, near 1 the loading.
    """

    samples: float
    waiting: float

    def __str__(self) -> str:
        """As log lines have it."""
        return f"{self.samples:.1f} samples/s, {self.waiting:.0%} waiting"


class FeedMeter:
    """Takes the time that batches need to come.

    Args:
        now: gives seconds.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._since = now()
        self._samples = self._waited = 0.0

    def watch(self, batches: Iterable[BatchT], samples: float) -> Iterator[BatchT]:
        """Yields the batches; the time counts from here on.

        Args:
            batches: of this process.
            samples: that all processes together get with a batch.
        """
        self.take()
        source = iter(batches)
        while True:
            asked = self._now()
            try:
                batch = next(source)
            except StopIteration:
                return
            self._waited += self._now() - asked
            self._samples += samples
            yield batch

    def take(self) -> FeedSpeed:
        """The speed since this was last called, or since batches were first asked for."""
        now = self._now()
        seconds = max(now - self._since, 1e-9)
        speed = FeedSpeed(self._samples / seconds, self._waited / seconds)
        self._since, self._samples, self._waited = now, 0.0, 0.0
        return speed
