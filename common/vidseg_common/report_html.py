"""Pieces of a report as HTML text: every function escapes what it is given.

Charts are inline SVG: unlike coloured boxes they are printed, and they stretch to any screen
while their labels, which are HTML, keep their size.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import PurePosixPath
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidseg_common.report_style import NUM_SERIES, STYLE

Cell = str | int | float | bool | None
Values = Mapping[str, Sequence[float | None]]

_NOTHING = "–"
_JPEG_QUALITY = 85
# Nothing may be fetched, whatever a text or a file name holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(title: str, body: str) -> str:
    """The whole document around the sections."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body><main>
{body}
</main></body>
</html>
"""


def header(title: str, summary: str) -> str:
    """Heading of the page, with its summary."""
    told = f"<p>{escape(summary)}</p>" if summary else ""
    return f"<header><h1>{escape(title)}</h1>{told}</header>"


def section(title: str, content: str) -> str:
    """A titled part of the page."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def format_cell(value: Cell) -> str:
    """Text of a number or word: floats with three decimals, a dash for what is not there."""
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return _NOTHING
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return f"{value:.3f}" if 0.001 <= abs(value) < 1e5 or value == 0 else f"{value:.3g}"
    return str(value)


def tiles(numbers: Mapping[str, Cell]) -> str:
    """Key numbers, large."""
    if not numbers:
        return ""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(format_cell(value))}</dd></div>"
        for name, value in numbers.items()
    )
    return f'<section><h2>Key numbers</h2><dl class="tiles">{items}</dl></section>'


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table that scrolls sideways where the screen is narrow."""
    head = "".join(
        f'<th scope="col"{_kind(all(_is_number(row[place]) for row in rows))}>{escape(column)}</th>'
        for place, column in enumerate(columns)
    )
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(value: Cell) -> str:
    return f"<td{_kind(_is_number(value))}>{escape(format_cell(value))}</td>"


def _is_number(value: Cell) -> bool:
    return not isinstance(value, str | bool)


def _kind(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def figure(image: NDArray[np.uint8], caption: str, max_width: int) -> str:
    """A picture as a JPEG inside the page.

    Args:
        image: (H, W, 3) uint8, RGB.
        caption: text below; also read out in place of the picture.
        max_width: in pixels; wider pictures are scaled down.
    """
    picture = Image.fromarray(image)
    if picture.width > max_width:
        size = (max_width, max(1, round(picture.height * max_width / picture.width)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    told = escape(caption)
    below = f"<figcaption>{told}</figcaption>" if caption else ""
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt="{told}" '
        f'width="{picture.width}" height="{picture.height}">{below}</figure>'
    )


def legend(names: Sequence[str]) -> str:
    """Names of the series with their colours; nothing for a single one without a name."""
    keys = "".join(
        f'<span><svg width="22" height="10" aria-hidden="true"><line x1="1" x2="21" y1="5" y2="5" '
        f'class="{_series(i)} key"/></svg> {escape(name)}</span>'
        for i, name in enumerate(names)
    )
    return f'<p class="legend">{keys}</p>' if any(names) else ""


def bars(labels: Sequence[str], series: Values, limits: tuple[float, float]) -> str:
    """Horizontal bars, one group per label, each with its value beside it."""
    low, high = limits
    rows = []
    for index, label in enumerate(labels):
        group = "".join(
            _bar(_series(place), values[index], low, high)
            for place, values in enumerate(series.values())
        )
        rows.append(f'<div class="name">{escape(label)}</div><div>{group}</div>')
    return f'<div class="bars">{"".join(rows)}</div>'


def _bar(color: str, value: float | None, low: float, high: float) -> str:
    rect = ""
    if value is not None and math.isfinite(value):
        start, end = sorted(100 * (v - low) / (high - low) for v in (0.0, value))
        rect = f'<rect class="{color}" x="{start:.2f}%" width="{end - start:.2f}%" height="100%"/>'
    return (
        f'<div class="bar"><svg width="100%" height="12" aria-hidden="true">'
        f'<rect class="track" width="100%" height="100%"/>{rect}</svg>'
        f"<span>{escape(format_cell(value))}</span></div>"
    )


def lines(labels: Sequence[str], series: Values, limits: tuple[float, float]) -> str:
    """One line per series over the labels, with a scale; gaps where a value is missing."""
    low, high = limits
    paths = "".join(
        f'<path class="{_series(place)} line" d="{_path(values, low, high)}"/>'
        for place, values in enumerate(series.values())
    )
    grid = "".join(f'<path class="grid" d="M0 {y}H100"/>' for y in (0, 25, 50, 75, 100))
    ticks = "".join(
        f"<span>{escape(format_cell(high - (high - low) * part))}</span>" for part in (0, 0.5, 1)
    )
    ends = [labels[i] for i in (0, len(labels) // 2, -1)] if len(labels) > 2 else list(labels)
    names = "".join(f"<span>{escape(name)}</span>" for name in ends)
    told = escape("line chart of " + ", ".join(series))
    return (
        f'<div class="plot"><div class="scale">{ticks}</div>'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="{told}">'
        f'{grid}{paths}</svg><div class="places">{names}</div></div>'
    )


def _path(values: Sequence[float | None], low: float, high: float) -> str:
    """SVG path in a 100 x 100 box; round line ends let a point alone show."""
    step = 100 / max(1, len(values) - 1)
    parts, is_pen_down = [], False
    for index, value in enumerate(values):
        if value is None or not math.isfinite(value):
            is_pen_down = False
            continue
        x, y = index * step, 100 * (high - value) / (high - low)
        parts.append(f"L{x:.2f} {y:.2f}" if is_pen_down else f"M{x:.2f} {y:.2f}h0")
        is_pen_down = True
    return "".join(parts)


def notes(texts: Sequence[str]) -> str:
    """Remarks, one paragraph each."""
    if not texts:
        return ""
    return section("Notes", "".join(f"<p>{escape(text)}</p>" for text in texts))


def files(paths: Mapping[str, str]) -> str:
    """Files written beside the report: links for relative paths, text for others."""
    if not paths:
        return ""
    items = "".join(f"<li>{escape(label)}: {_link(path)}</li>" for label, path in paths.items())
    return section("Files", f"<ul>{items}</ul>")


def _link(path: str) -> str:
    text = f"<code>{escape(path)}</code>"
    if not path or PurePosixPath(path).is_absolute() or "\\" in path:
        return text
    # A colon is quoted too: no path can pass for an address of another kind.
    return f'<a href="{escape(quote(path, safe="/"))}">{text}</a>'


def run_details(
    command: str,
    weights: Mapping[str, str],
    device: str,
    versions: Mapping[str, str],
    created: str,
) -> str:
    """How the results were made, so that they can be made again."""
    rows = []
    if command:
        rows.append(("Command", f"<pre><code>{escape(command)}</code></pre>"))
    rows += [(f"Weights: {name}", escape(told)) for name, told in weights.items()]
    if device:
        rows.append(("Device", escape(device)))
    if versions:
        told = ", ".join(f"{name} {version}" for name, version in versions.items())
        rows.append(("Versions", escape(told)))
    if created:
        rows.append(("Created", escape(created)))
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{told}</dd></div>" for name, told in rows)
    return section("How this was made", f'<dl class="details">{items}</dl>') if rows else ""


def _series(place: int) -> str:
    return f"s{place % NUM_SERIES}"
