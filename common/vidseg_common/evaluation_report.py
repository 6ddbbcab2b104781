"""Scores as a folder of files: JSON, CSV, the printed table, and an HTML report with pictures."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vidseg_common.clip_pictures import (
    background_of,
    draw_frame,
    frame_qualities,
    matching_colors,
)
from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.files import write_json, write_text
from vidseg_common.metric_registry import Metric, Row, Scores
from vidseg_common.report import Chart, Report, Strip, Table, package_versions, write_report

_MOST_BARS = 60
_MOST_ROWS = 1000
_PACKAGES = ("vidseg-common", "numpy", "scipy", "pycocotools")


@dataclass(frozen=True)
class Pictures:
    """What the pictures of a report are made of.

    Attributes:
        truth: ground truth.
        predictions: results.
        num_videos: how many of the worst videos are shown.
        num_frames: how many of the worst frames of each.
        min_score: predictions with a lower score are not drawn.
    """

    truth: AnnotationSet
    predictions: AnnotationSet
    num_videos: int = 5
    num_frames: int = 3
    min_score: float = 0.3


def worst_first(metric: Metric, rows: Sequence[Row]) -> list[Row]:
    """Rows of videos ordered by the metric's score, the worst first; without a score last."""

    def key(row: Row) -> tuple[bool, float]:
        value = row.get(metric.video_score)
        if value is None or math.isnan(value):
            return True, 0.0
        return False, -value if metric.lower_is_better else value

    return sorted(rows, key=key)


def write_evaluation(
    folder: str | Path,
    metric: Metric,
    scores: Scores,
    *,
    command: Sequence[str],
    pictures: Pictures | None = None,
    notes: Sequence[str] = (),
    progress: bool = False,
) -> list[Path]:
    """Writes all files of an evaluation.

    Args:
        folder: where to; created where missing.
        metric: which metric.
        scores: its result.
        command: the command line, for the report.
        pictures: None writes a report without pictures.
        notes: remarks for the report.
        progress: shows a bar on stderr while pictures are made.

    Returns:
        The files.

    Raises:
        OSError: a file cannot be written.
    """
    folder = Path(folder)
    classes, videos = list(scores.per_class()), worst_first(metric, scores.per_video())
    files = [folder / "result.json", folder / "table.txt"]
    write_json(files[0], _finite(scores.to_json()))
    write_text(files[1], scores.table().rstrip("\n") + "\n")
    for name, rows in (("per_class", classes), ("per_video", videos)):
        if rows:
            files.append(folder / f"{name}.csv")
            write_text(files[-1], csv_text(rows))
    strips = [] if pictures is None else _strips(metric, pictures, videos, progress)
    report = Report(
        title=f"{metric.title}: {_headline(scores.numbers)}",
        command=command,
        summary=f"{len(videos)} videos; the tables list the worst first.",
        numbers=dict(scores.numbers),
        versions=package_versions(_PACKAGES),
        charts=_charts(metric, classes, videos),
        tables=_tables(metric, classes, videos),
        strips=strips,
        notes=list(notes),
        files={path.stem.replace("_", " "): path.name for path in files},
    )
    files.append(write_report(folder / "report.html", report, image_width=960))
    return files


def _headline(numbers: Mapping[str, float]) -> str:
    name, value = next(iter(numbers.items()))
    return f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinities: null and words instead."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def csv_text(rows: Sequence[Row]) -> str:
    """Rows as CSV at full precision, with a header; NaN and None are empty cells."""
    columns = _columns(rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_blank(row.get(column)) for column in columns])
    return buffer.getvalue()


def _blank(value: Any) -> Any:
    is_nothing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if is_nothing else value


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _tables(metric: Metric, classes: Sequence[Row], videos: Sequence[Row]) -> list[Table]:
    made = []
    for title, rows in (("By category", classes), ("By video, worst first", videos)):
        if rows:
            columns = _columns(rows)
            cells = [[row.get(column) for column in columns] for row in rows[:_MOST_ROWS]]
            more = f" ({_MOST_ROWS} of {len(rows)})" if len(rows) > _MOST_ROWS else ""
            made.append(Table(title + more, columns, cells))
    return made


def _charts(metric: Metric, classes: Sequence[Row], videos: Sequence[Row]) -> list[Chart]:
    made = []
    for title, key, rows in (
        ("by category", "class", classes),
        ("of the worst videos", "video", videos),
    ):
        chosen = [row for row in rows if metric.video_score in row and key in row][:_MOST_BARS]
        if chosen:
            values = [_bar(row[metric.video_score]) for row in chosen]
            labels = [str(row[key]) for row in chosen]
            made.append(Chart(f"{metric.video_score} {title}", labels, {"": values}))
    return made


def _bar(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _strips(
    metric: Metric, pictures: Pictures, videos: Sequence[Row], progress: bool
) -> list[Strip]:
    """Ground truth and results of the worst frames of the worst videos."""
    truth_at = {video.name: i for i, video in enumerate(pictures.truth.videos)}
    found_at = {video.name: i for i, video in enumerate(pictures.predictions.videos)}
    shown = [row for row in videos if row["video"] in truth_at and row["video"] in found_at]
    strips = []
    for row in tqdm(shown[: pictures.num_videos], unit="video", disable=not progress, leave=False):
        name = row["video"]
        value = row.get(metric.video_score)
        told = f"{metric.video_score} {value:.3f}" if isinstance(value, float) else "no score"
        title = f"{name}: {told}"
        strips.append(_strip(title, pictures, truth_at[name], found_at[name]))
    return strips


def _strip(title: str, pictures: Pictures, truth_at: int, found_at: int) -> Strip:
    truth, found = pictures.truth.load(truth_at), pictures.predictions.load(found_at)
    qualities = frame_qualities(truth, found, pictures.min_score)
    worst = sorted(range(len(qualities)), key=lambda t: (qualities[t], t))[: pictures.num_frames]
    colors = matching_colors(truth, found, pictures.min_score)
    images, captions = [], []
    for t in sorted(worst):
        base = background_of(pictures.truth, truth, t)
        stem = Path(truth.video.file_names[t]).stem
        images.append(draw_frame(pictures.truth, truth, t, image=base))
        images.append(draw_frame(pictures.predictions, found, t, colors=colors, image=base,
                                 min_score=pictures.min_score))  # fmt: skip
        captions += [f"{stem}: ground truth", f"results, mask IoU {qualities[t]:.2f}"]
    return Strip(title, images, captions)
