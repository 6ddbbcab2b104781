"""One-file HTML reports: numbers, charts, tables and frames, without any network reference.

The page carries its style and pictures inside, holds no script, forbids the browser to fetch
anything, follows the light or dark setting of the reader, and can be printed.
"""

from __future__ import annotations

import datetime
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vidseg_common import report_html as html
from vidseg_common.files import write_text

Rgb = NDArray[np.uint8]
Cell = html.Cell

__all__ = ["Cell", "Chart", "Report", "Strip", "Table", "package_versions", "write_report"]


def _now() -> str:
    return datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")


@dataclass(frozen=True)
class Table:
    """A table; numbers are right-aligned, None and NaN become a dash.

    Attributes:
        title: heading.
        columns: column headings.
        rows: cells, each row as long as `columns`.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: {len(row)} cells in a row of a table "
                                 f"with {len(self.columns)} columns")  # fmt: skip


@dataclass(frozen=True)
class Chart:
    """Numbers as bars per label (for sequences), or as lines over the labels (for frames).

    Attributes:
        title: heading.
        labels: names of the sequences, or of the frames.
        series: name of each series and its values, one per label; None and NaN leave a gap.
        kind: "bars" or "lines".
        maximum: upper end of the scale (the lower one is 0, or the smallest negative value);
            None takes the largest value.
    """

    title: str
    labels: Sequence[str]
    series: Mapping[str, Sequence[float | None]]
    kind: Literal["bars", "lines"] = "bars"
    maximum: float | None = 1.0

    def __post_init__(self) -> None:
        for name, values in self.series.items():
            if len(values) != len(self.labels):
                raise ValueError(f"chart {self.title!r}: series {name!r} has {len(values)} values "
                                 f"for {len(self.labels)} labels")  # fmt: skip


@dataclass(frozen=True)
class Strip:
    """Frames shown beside each other.

    Attributes:
        title: heading.
        images: (H, W, 3) uint8 each, RGB; sizes may differ.
        captions: one text per image, or none at all.
    """

    title: str
    images: Sequence[Rgb]
    captions: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.captions and len(self.captions) != len(self.images):
            raise ValueError(f"strip {self.title!r}: {len(self.captions)} captions for "
                             f"{len(self.images)} images")  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What a report says; every text is shown as it is, never read as HTML.

    Attributes:
        title: heading of the page.
        command: the command line that made the results, as one string or as its words.
        summary: a sentence or two below the heading.
        numbers: the key numbers by name.
        weights: which weights were used: name or role, and file, source or remark.
        device: what the model ran on.
        versions: package and version; see `package_versions`.
        charts: shown after the key numbers.
        tables: shown after the charts.
        strips: frames, shown after the tables.
        notes: remarks, one paragraph each.
        files: label and path of files written; relative paths become links.
        created: date and time.
    """

    title: str
    command: str | Sequence[str] = ""
    summary: str = ""
    numbers: Mapping[str, Cell] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    strips: Sequence[Strip] = ()
    notes: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    created: str = field(default_factory=_now)


def write_report(path: str | Path, report: Report, *, image_width: int = 480) -> Path:
    """Writes a report as one HTML file, atomically.

    Args:
        path: the file, by custom ending in .html.
        report: its content.
        image_width: pictures wider than this are scaled down, in pixels.

    Returns:
        The path.

    Raises:
        OSError: the file cannot be written.
    """
    write_text(path, render_report(report, image_width=image_width))
    return Path(path)


def render_report(report: Report, *, image_width: int = 480) -> str:
    """Returns the HTML text of a report; arguments as `write_report`."""
    command = report.command if isinstance(report.command, str) else shlex.join(report.command)
    body = [
        html.header(report.title, report.summary),
        html.tiles(report.numbers),
        *(_chart(chart) for chart in report.charts),
        *(html.section(t.title, html.table(t.columns, t.rows)) for t in report.tables),
        *(_strip(strip, image_width) for strip in report.strips),
        html.notes(report.notes),
        html.files(report.files),
        html.run_details(command, report.weights, report.device, report.versions, report.created),
    ]
    return html.page(report.title, "\n".join(part for part in body if part))


def package_versions(
    packages: Sequence[str] = ("vidseg-common", "torch", "torchvision", "numpy"),
) -> dict[str, str]:
    """Version of Python and of those of the packages that are installed."""
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _chart(chart: Chart) -> str:
    values = [v for row in chart.series.values() for v in row if v is not None and np.isfinite(v)]
    largest = max(values, default=1.0) if chart.maximum is None else chart.maximum
    low = min(0.0, *values) if values else 0.0
    high = max([largest, *values]) if values else largest
    draw = html.bars if chart.kind == "bars" else html.lines
    picture = draw(chart.labels, chart.series, (low, high if high > low else low + 1.0))
    return html.section(chart.title, html.legend(list(chart.series)) + picture)


def _strip(strip: Strip, image_width: int) -> str:
    captions = strip.captions or [""] * len(strip.images)
    figures = [
        html.figure(image, caption, image_width)
        for image, caption in zip(strip.images, captions, strict=True)
    ]
    return html.section(strip.title, f'<div class="strip">{"".join(figures)}</div>')
