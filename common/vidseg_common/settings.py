"""Settings that results depend on: in what two of them differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class _Absent:
    def __repr__(self) -> str:
        return "not given"


_ABSENT = _Absent()


def changes(before: Any, now: Any, key: str = "") -> Iterator[str]:
    """What differs between two nested settings, in words: "model.size was 3, now 4".

    Args:
        before: mappings of plain values, as JSON gives them back.
        now: the same.
        key: where both stand.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            inner = f"{key}.{name}" if key else str(name)
            yield from changes(before.get(name, _ABSENT), now.get(name, _ABSENT), inner)
    elif before != now:
        yield f"{key} was {before!r}, now {now!r}"
