"""Counts what a format could not hold, so that a writer can say it once instead of per mask."""

from __future__ import annotations

from collections import Counter


class WriteLosses:
    """What was lost or changed on the way into a format."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, what: str, number: int = 1) -> None:
        """Notes that something was lost.

        Args:
            what: the kind of thing in the plural and what became of it.
            number: how often; 0 notes nothing.
        """
        if number:
            self._counts[what] += number

    def warnings(self) -> list[str]:
        """One line per kind, in the order they were first met."""
        return [f"{number} x {what}" for what, number in self._counts.items()]
