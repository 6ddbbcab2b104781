"""Average precision and recall of a benchmark, as numbers, rows and the official text.

T thresholds, R recalls, K categories, A area ranges, L level ranges, M limits.
Source: spec common section 5.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vidseg_common.datasets.annotations import Category
from vidseg_common.metrics.average_precision import Matches, Protocol, accumulate

__all__ = ["APLine", "APResult", "VideoMatches", "VideoRow", "combine"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class APLine:
    """One number of a summary.

    Attributes:
        name: such as "AP50".
        kind: precision ("AP") or recall ("AR").
        threshold: the only IoU threshold, None for the mean over all.
        area: name of the area range.
        level: name of the level range.
        max_dets: the limit on detections.
    """

    name: str
    kind: Literal["AP", "AR"]
    threshold: float | None = None
    area: str = "all"
    level: str = "all"
    max_dets: int = 100


@dataclass(frozen=True)
class VideoMatches:
    """What became of the detections of one video or image.

    Attributes:
        id: number of the video.
        name: its name.
        groups: matches by category.
    """

    id: int
    name: str
    groups: Mapping[int, Matches]


@dataclass(frozen=True)
class VideoRow:
    """Counts of one video, over all categories, areas and levels.

    Attributes:
        id: number of the video.
        name: its name.
        ground_truth: objects that count.
        detections: detections within the largest limit.
        found: objects found at the lowest IoU threshold.
    """

    id: int
    name: str
    ground_truth: int
    detections: int
    found: int


@dataclass(frozen=True)
class APResult:
    """The score of a benchmark; -1 marks what has no ground truth, as in the official tools.

    Attributes:
        metric: name of the benchmark.
        protocol: thresholds, ranges and limits.
        lines: the numbers of the summary.
        categories: K classes, ascending by number as in the official arrays.
        precision: (T, R, K, A, L, M).
        recall: (T, K, A, L, M).
        scores: (T, R, K, A, L, M) score at which each recall is reached.
        num_gt: (K, A, L) objects that are not ignored.
        num_dets: (K,) detections within the largest limit.
        videos: counts of every video.
        warnings: what was left out.
    """

    metric: str
    protocol: Protocol
    lines: tuple[APLine, ...]
    categories: tuple[Category, ...]
    precision: Floats
    recall: Floats
    scores: Floats
    num_gt: NDArray[np.int64]
    num_dets: NDArray[np.int64]
    videos: tuple[VideoRow, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def numbers(self) -> dict[str, float]:
        """The summary, by name."""
        return {line.name: self.mean(line) for line in self.lines}

    def mean(self, line: APLine, category: int | None = None) -> float:
        """Mean of all entries that exist, -1 where none does.

        Args:
            line: what to average over.
            category: position of a category, None for all.
        """
        values = self.precision if line.kind == "AP" else self.recall
        cell = values[
            ...,
            [area.name for area in self.protocol.areas].index(line.area),
            [level.name for level in self.protocol.levels].index(line.level),
            self.protocol.max_dets.index(line.max_dets),
        ]
        if line.threshold is not None:
            cell = cell[np.isclose(self.protocol.thresholds, line.threshold, atol=1e-9)]
        if category is not None:
            cell = cell[..., category]
        cell = cell[cell > -1]
        return float(cell.mean()) if cell.size else -1.0

    def per_class(self) -> list[dict[str, Any]]:
        """One row per category: its number, name, counts and every number of the summary."""
        return [
            {
                "category_id": category.id,
                "category": category.name,
                "ground_truth": int(self.num_gt[k, 0, 0]),
                "detections": int(self.num_dets[k]),
                **{line.name: self.mean(line, k) for line in self.lines},
            }
            for k, category in enumerate(self.categories)
        ]

    def per_video(self) -> list[dict[str, Any]]:
        """One row of counts per video."""
        return [asdict(video) for video in self.videos]

    def to_json(self) -> dict[str, Any]:
        """Everything but the curves, at full precision."""
        return {
            "metric": self.metric,
            "numbers": self.numbers,
            "per_class": self.per_class(),
            "per_video": self.per_video(),
            "warnings": list(self.warnings),
        }

    def table(self) -> str:
        """The summary in the form of the official tools."""
        return "".join(f"{self._text(line)}\n" for line in self.lines)

    def _text(self, line: APLine) -> str:
        title = "Average Precision" if line.kind == "AP" else "Average Recall"
        thresholds = self.protocol.thresholds
        iou = f"{thresholds[0]:.2f}:{thresholds[-1]:.2f}"
        if line.threshold is not None:
            iou = f"{line.threshold:.2f}"
        level = f"| occ={line.level:>6} " if len(self.protocol.levels) > 1 else ""
        return (
            f" {title:<18} ({line.kind}) @[ IoU={iou:<9} | area={line.area:>6} {level}"
            f"| maxDets={line.max_dets:>3} ] = {self.mean(line):.3f}"
        )


def combine(
    metric: str,
    protocol: Protocol,
    lines: Sequence[APLine],
    categories: Sequence[Category],
    videos: Sequence[VideoMatches],
    warnings: Sequence[str] = (),
) -> APResult:
    """Joins the matches of all videos into the score.

    Args:
        metric: name of the benchmark.
        protocol: thresholds, ranges and limits.
        lines: the numbers of the summary.
        categories: the classes of the ground truth.
        videos: the matches; equal scores are ordered by the number of the video.
        warnings: what was left out.
    """
    ordered = sorted(videos, key=lambda video: video.id)
    categories = sorted(categories, key=lambda category: category.id)
    groups = [
        [v.groups[category.id] for v in ordered if category.id in v.groups]
        for category in categories
    ]
    curves = accumulate(groups, protocol)
    return APResult(
        metric=metric,
        protocol=protocol,
        lines=tuple(lines),
        categories=tuple(categories),
        precision=curves.precision,
        recall=curves.recall,
        scores=curves.scores,
        num_gt=curves.num_gt,
        num_dets=np.array([sum(len(g.scores) for g in of_one) for of_one in groups], int),
        videos=tuple(_row(video) for video in videos),
        warnings=tuple(warnings),
    )


def _row(video: VideoMatches) -> VideoRow:
    groups = list(video.groups.values())
    return VideoRow(
        video.id,
        video.name,
        ground_truth=sum(int(group.num_gt[0, 0]) for group in groups),
        detections=sum(len(group.scores) for group in groups),
        found=sum(int((g.matched & ~g.ignored)[0, 0, 0].sum()) for g in groups),
    )
