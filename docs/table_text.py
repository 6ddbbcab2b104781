"""Markdown of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NOT_MEASURED = "not measured"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; cells that are None read "not measured"."""
    lines = [head, ["---"] * len(head), *rows]
    texts = [[NOT_MEASURED if cell is None else str(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in texts) + "\n"


def sentence(text: str) -> str:
    """A paragraph of its own."""
    return f"{text}\n"


def parity_table(record: Mapping[str, Any]) -> str:
    """Worst error of every parity case."""
    rows = [
        (f"`{row['case']}`", row["error"], row["tolerance"], row["output"])
        for row in record.get("cases", [])
    ]
    head = ("case", "worst relative error", "tolerance", "in output")
    return table(head, rows or [[None] * 4])


def learnt(record: Mapping[str, Any]) -> str:
    """What a small network learns from random weights, as AP on the clips it has learnt."""
    if not record:
        return sentence(f"Score and time: {NOT_MEASURED}.")
    clips = ", ".join(f"{clip['objects']} object(s)" for clip in record["clips"])
    return sentence(
        f"AP50 {record['AP50']:.3f}, AP75 {record['AP75']:.3f}, AP {record['AP']:.3f} after "
        f"{record['iterations']} iterations on clips with {clips}; training took "
        f"{record['training_cpu_seconds'] / 60:.1f} minutes of processor time."
    )
