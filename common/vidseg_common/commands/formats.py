"""`vidseg formats`: the annotation formats and metrics by name."""

from __future__ import annotations

from collections.abc import Sequence

from vidseg_common.arguments import ArgumentParser
from vidseg_common.commands.common import say, text_table
from vidseg_common.formats import FORMATS
from vidseg_common.metric_registry import METRICS


def main(argv: Sequence[str] | None = None) -> int:
    """Prints two tables.

    Returns:
        0, the exit status.
    """
    ArgumentParser("vidseg formats", description="List formats and metrics.").parse_args(argv)
    formats = [
        {
            "name": entry.name,
            "does": ", ".join(role for role in ("read", "write", "validate") if entry.can(role)),
            "title": entry.title,
        }
        for entry in FORMATS.values()
    ]
    metrics = [{"name": metric.name, "title": metric.title} for metric in METRICS.values()]
    say(*text_table({"name": "format", "does": "can", "title": "what it is"}, formats), "")
    say(*text_table({"name": "metric", "title": "what it measures"}, metrics))
    return 0
