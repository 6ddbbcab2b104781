"""Tables of DeVIS, from its recorded numbers."""

from __future__ import annotations

from collections.abc import Callable

from records import Records
from table_text import learnt


def overfit(records: Records) -> str:
    """What a small network learns from random weights."""
    return learnt(records.devis_overfit)


TABLES: dict[str, Callable[[Records], str]] = {
    "devis-overfit": overfit,
}
