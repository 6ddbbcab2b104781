"""Scores as a folder of files: JSON, CSV, the printed table, and an HTML report with pictures."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
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


def worst_first(metric: Metric, scores: Scores) -> list[dict[str, Any]]:
    """Rows of videos ordered by the metric's score, the worst first; without a score last.

    Rows get the name under "video" first, and counts of found objects their share "found/all".
    """
    rows = [_named(row) for row in getattr(scores, "per_video", list)()]

    def key(row: Row) -> tuple[bool, float]:
        value = _bar(row.get(metric.video_score))
        return value is None, value or 0.0

    return sorted(rows, key=key)


def _named(row: Row) -> dict[str, Any]:
    made = {"video": row.get("video", row.get("name")), **row}
    made.pop("name", None)
    if "found" in row and "ground_truth" in row:
        wanted = row["ground_truth"]
        made["found/all"] = row["found"] / wanted if wanted else None
    return made


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
    classes: Sequence[Row] = scores.per_class()
    videos = worst_first(metric, scores)
    files = [folder / "result.json", folder / "table.txt"]
    write_json(files[0], _finite(scores.to_json()))
    write_text(files[1], scores.table().rstrip("\n") + "\n")
    for name, rows in (("per_class", classes), ("per_video", videos)):
        if rows:
            files.append(folder / f"{name}.csv")
            write_text(files[-1], csv_text(rows))
    strips = [] if pictures is None else _strips(metric, pictures, videos, progress)
    classes, videos = _told(metric, classes), _told(metric, videos)
    (numbers,) = _told(metric, [scores.numbers])
    report = Report(
        title=f"{metric.title}: {_headline(numbers)}",
        command=command,
        summary=_summary(videos),
        numbers=numbers,
        versions=package_versions(_PACKAGES),
        charts=_charts(metric, classes, videos),
        tables=_tables(classes, videos),
        strips=strips,
        notes=list(notes),
        files={path.stem.replace("_", " "): path.name for path in files},
    )
    files.append(write_report(folder / "report.html", report, image_width=960))
    return files


def _told(metric: Metric, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as people shall read them: NaN where the official number means "no ground truth"."""
    nothing = metric.no_truth
    return [
        {
            key: math.nan if nothing is not None and isinstance(v, float) and v == nothing else v
            for key, v in row.items()
        }
        for row in rows
    ]


def _summary(videos: Sequence[Row]) -> str:
    number = len({row["video"] for row in videos})
    return f"{number} video{'s' if number > 1 else ''}; the tables list the worst first."


def _headline(numbers: Mapping[str, float]) -> str:
    name, value = next(iter(numbers.items()))
    if isinstance(value, float) and math.isnan(value):
        return f"{name} not defined"
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


def _tables(classes: Sequence[Row], videos: Sequence[Row]) -> list[Table]:
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
    for title, score, rows in (
        ("by category", metric.class_score, classes),
        ("of the worst videos", metric.video_score, videos),
    ):
        chosen = [row for row in rows if score in row][:_MOST_BARS]
        if chosen:
            values = [_bar(row[score]) for row in chosen]
            made.append(Chart(f"{score} {title}", [_label(row) for row in chosen], {"": values}))
    return made


def _label(row: Row) -> str:
    names = (row.get(key) for key in ("part", "video", "class", "category"))
    return " ".join(str(name) for name in names if name is not None)


def _bar(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _strips(
    metric: Metric, pictures: Pictures, videos: Sequence[Row], progress: bool
) -> list[Strip]:
    """Ground truth and results of the worst frames of the worst videos."""
    # Without masks and images the size of a video may be unknown: there is nothing to draw.
    truth_at = {v.name: i for i, v in enumerate(pictures.truth.videos) if v.height and v.width}
    found_at = {video.name: i for i, video in enumerate(pictures.predictions.videos)}
    rows: dict[str, Row] = {}
    for row in videos or _by_quality(pictures, truth_at, found_at):
        # A video has a row per class in some metrics: the worst one is told.
        if row["video"] in truth_at and row["video"] in found_at:
            rows.setdefault(row["video"], row)
    chosen = list(rows.items())[: pictures.num_videos]
    strips = []
    for name, row in tqdm(chosen, unit="video", disable=not progress, leave=False):
        score = metric.video_score if metric.video_score in row else "mask IoU"
        value = row.get(score)
        told = f"{score} {value:.3f}" if isinstance(value, float) else "no score"
        title = f"{_label(row)}: {told}"
        strips.append(_strip(title, pictures, truth_at[name], found_at[name]))
    return strips


def _by_quality(
    pictures: Pictures, truth_at: Mapping[str, int], found_at: Mapping[str, int]
) -> list[Row]:
    """Videos by the mean IoU of their masks, for metrics without numbers per video."""
    rows = [
        {
            "video": name,
            "mask IoU": mean(
                frame_qualities(
                    pictures.truth.load(place),
                    pictures.predictions.load(found_at[name]),
                    pictures.min_score,
                )
            ),
        }
        for name, place in truth_at.items()
        if name in found_at and pictures.truth.videos[place].num_frames
    ]
    return sorted(rows, key=lambda row: row["mask IoU"])


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
