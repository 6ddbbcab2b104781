"""Text of the official DAVIS tables, character by character. Source: spec common section 4.5.

The official tool prints data frames; the rules of their layout that matter are written out here,
so that equal numbers give equal text without that dependency.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Row = Mapping[str, "str | float"]

_TABLE_DECIMALS = 6


def csv_text(rows: Sequence[Row], decimals: int = 3) -> str:
    """Comma-separated text with a header; NaN is an empty cell.

    Args:
        rows: one mapping of column to value per line, all with the same columns.
        decimals: decimals of numbers.
    """
    lines = [",".join(rows[0])]
    for row in rows:
        cells = [_quote(v) if isinstance(v, str) else _cell(v, decimals) for v in row.values()]
        lines.append(",".join(cells))
    return "\n".join(lines) + "\n"


def _cell(value: float, decimals: int) -> str:
    return "" if math.isnan(value) else f"{value:.{decimals}f}"


def _quote(text: str) -> str:
    if any(character in text for character in ',"\n\r'):
        return '"' + text.replace('"', '""') + '"'
    return text


def table_text(rows: Sequence[Row]) -> str:
    """Right-aligned columns with a header, as a data frame prints itself without its index."""
    columns = []
    for name in rows[0]:
        values = [row[name] for row in rows]
        if isinstance(values[0], str):
            cells = [name, *map(str, values)]
        else:
            # Numeric columns keep a blank before the header, where a sign would stand.
            cells = [f" {name}", *_number_cells([float(value) for value in values])]
        width = max(map(len, cells))
        columns.append([cell.rjust(width) for cell in cells])
    return "\n".join(" ".join(line) for line in zip(*columns, strict=True))


def _number_cells(values: Sequence[float]) -> list[str]:
    """Six decimals; zeros that end all numbers of the column are cut, one decimal stays."""
    finite = [abs(value) for value in values if math.isfinite(value)]
    tiny = any(0 < value < 10**-_TABLE_DECIMALS for value in finite)
    style = "e" if tiny else "f"
    cells = ["NaN" if math.isnan(v) else f"{v:.{_TABLE_DECIMALS}{style}}" for v in values]
    if tiny:
        return cells
    spare = min(
        (len(cell) - len(cell.rstrip("0")) for cell in cells if "." in cell),
        default=0,
    )
    spare = min(spare, _TABLE_DECIMALS - 1)
    return [cell[: len(cell) - spare] if "." in cell and spare else cell for cell in cells]


def report_text(global_scores: Mapping[str, float], rows: Sequence[Row], set_name: str) -> str:
    """The two tables under their headings, as the official tool prints them.

    Args:
        global_scores: the seven numbers of the set.
        rows: Sequence, J-Mean and F-Mean of every object.
        set_name: such as "val".
    """
    parts = [
        f"--------------------------- Global results for {set_name} ---------------------------",
        table_text([global_scores]),
        "",
        f"---------- Per sequence results for {set_name} ----------",
        table_text(rows),
    ]
    return "\n".join(parts) + "\n"
