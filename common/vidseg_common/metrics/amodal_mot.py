"""MOT and MOTS of SAIL-VOS by class: CLEAR-MOT of boxes or masks, visible or amodal.

Source: spec vatrack section 7.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vidseg_common.datasets.annotations import AnnotationSet, Category, Clip, Track
from vidseg_common.datasets.sailvos_per_video import Masks, box_of, check_masks, masks_of
from vidseg_common.metrics import tracking
from vidseg_common.metrics.tracking import IouType
from vidseg_common.metrics.tracking_counts import TrackingCounts, combine_counts

__all__ = ["AmodalMotResult", "evaluate"]

_RATIOS = ("mota", "motp", "idf1")
_COUNTS = (*("num_misses", "num_false_positives", "num_switches", "mostly_tracked", "mostly_lost"),)
_COLUMNS = ("mota", "motp", *_COUNTS, "idf1")
#: Of the table.
_HEADS = ("MOTA", "MOTP", "FN", "FP", "IDs", "MT", "ML", "IDF1")
_FIRST_CLASSES = 6


@dataclass(frozen=True)
class AmodalMotResult:
    """CLEAR-MOT of every class.

    Attributes:
        categories: the classes.
        counts: what was counted of each, over all videos.
        videos: what was counted in each video, over all classes.
    """

    categories: tuple[Category, ...]
    counts: tuple[TrackingCounts, ...]
    videos: Mapping[str, TrackingCounts]

    @property
    def numbers(self) -> dict[str, float]:
        """The row over all classes."""
        overall = self.rows()[-2]
        return {column: overall[column] for column in _COLUMNS}

    def per_class(self) -> list[dict[str, Any]]:
        """The rows of the classes; NaN where a class has no ground truth."""
        return self.rows()[:-2]

    def per_video(self) -> list[dict[str, Any]]:
        """All numbers of every video, the classes pooled."""
        return [{"video": name, **_numbers(counts)} for name, counts in self.videos.items()]

    def rows(self, *, compat: bool = False) -> list[dict[str, Any]]:
        """One row per class, then OVERALL and OVERALL_exclude.

        MOTP is the mean IoU in percent. OVERALL has means of the ratios over all classes, undefined
        and infinite ones as 0, and sums of the counts; OVERALL_exclude the means over the first
        six classes.

        Args:
            compat: the rows of the original tool, where class 1 has the counts of the classes 10
                to 19 as well, and class 2 those of 20 to 24.
        """
        rows: list[dict[str, Any]] = [
            {"class": f"{category.id} {category.name}", **_numbers(counts)}
            for category, counts in zip(self.categories, self._counts(compat), strict=True)
        ]
        sums = {column: sum(row[column] for row in rows) for column in _COUNTS}
        return [
            *rows,
            {"class": "OVERALL", **sums, **_means(rows)},
            {"class": "OVERALL_exclude", **sums, **_means(rows[:_FIRST_CLASSES])},
        ]

    def _counts(self, compat: bool) -> list[TrackingCounts]:
        if not compat:
            return list(self.counts)
        names = [str(category.id) for category in self.categories]
        return [
            combine_counts(
                c for c, other in zip(self.counts, names, strict=True) if other.startswith(name)
            )
            for name in names
        ]

    def to_json(self) -> dict[str, Any]:
        """All rows at full precision, ready for JSON; null where undefined."""
        return {
            "metric": "amodal_mot",
            "rows": [
                {
                    k: None if isinstance(v, float) and not math.isfinite(v) else v
                    for k, v in r.items()
                }
                for r in self.rows()
            ],
        }

    def table(self, *, compat: bool = False) -> str:
        """All rows as text.

        Args:
            compat: as `rows`.
        """
        cells = [["", *_HEADS]]
        cells += [
            [row["class"], *(_cell(column, row[column]) for column in _COLUMNS)]
            for row in self.rows(compat=compat)
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "".join(
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) + "\n"
            for line in cells
        )


def _numbers(counts: TrackingCounts) -> dict[str, float]:
    numbers = counts.numbers()
    return {column: numbers[column] for column in _COLUMNS} | {"motp": 100 * numbers["motp_iou"]}


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    if not rows:
        return dict.fromkeys(_RATIOS, math.nan)
    return {
        ratio: sum(row[ratio] for row in rows if math.isfinite(row[ratio])) / len(rows)
        for ratio in _RATIOS
    }


def _cell(column: str, value: float) -> str:
    if not math.isfinite(value):
        return "-"
    if column in _COUNTS:
        return str(value)
    return f"{value if column == 'motp' else 100 * value:.1f}"


def evaluate(
    truth: AnnotationSet,
    predictions: AnnotationSet,
    *,
    masks: Masks = "visible",
    iou_type: IouType = "segm",
    truth_boxes: Masks | None = None,
    workers: int = 1,
    progress: bool = False,
) -> AmodalMotResult:
    """Scores tracks class by class.

    Args:
        truth: annotations, as `sailvos.read` gives them.
        predictions: results of the same videos.
        masks: which masks, and with "bbox" which predicted boxes, are compared.
        iou_type: masks or boxes.
        truth_boxes: which boxes of the ground truth; None for those of `masks`. The original tool
            has them the other way round.
        workers: number of processes.
        progress: show a bar on stderr.

    Raises:
        DatasetError: videos that do not fit, or results without masks of this kind.
    """
    check_masks(predictions, masks)
    result = tracking.evaluate(
        _shown(truth, masks, truth_boxes or masks),
        _shown(predictions, masks, masks),
        iou_type=iou_type,
        workers=workers,
        progress=progress,
    )
    categories = tuple(truth.categories)
    videos = {
        video.name: combine_counts(counts[video.name] for counts in result.counts.values())
        for video in truth.videos
    }
    return AmodalMotResult(categories, tuple(result.total(c.name) for c in categories), videos)


def _shown(annotations: AnnotationSet, masks: Masks, boxes: Masks) -> AnnotationSet:
    """The set with one kind of masks and boxes, and one track per object and class."""

    def load(position: int) -> Clip:
        clip = annotations.load(position)
        parts = [part for track in clip.tracks for part in _by_class(track, masks, boxes)]
        tracks = [replace(part, id=number) for number, part in enumerate(parts)]
        return replace(clip, tracks=tracks)

    return replace(annotations, load=load)


def _by_class(track: Track, masks: Masks, boxes: Masks) -> list[Track]:
    """The track, once for every class that it has in some frame."""
    found = masks_of(track, masks)
    classes = track.extra.get("frame_categories") or [track.category_id] * len(found)
    parts = []
    for category_id in dict.fromkeys(c for c in classes if c is not None):
        frames = [c == category_id and m is not None for c, m in zip(classes, found, strict=True)]
        parts.append(
            Track(
                id=track.id,
                category_id=category_id,
                segmentations=[m if k else None for m, k in zip(found, frames, strict=True)],
                is_crowd=track.is_crowd,
                bboxes=[box_of(track, f, boxes) if k else None for f, k in enumerate(frames)],
                extra={"ignore": track.extra.get("ignore", False)},
            )
        )
    return parts
