"""The sMOTSA family of KITTI-MOTS and MOTSChallenge, equal to the official MOTS tool.

    python -m vidseg_common.metrics.mots RESULTS GT SEQMAP

A prediction matches a ground truth where their IoU is above 0.5 (exactly 0.5 is no match; masks
do not overlap, so there is at most one). Source: spec common section 6.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.datasets.mots_files import CLASS_NAMES
from vidseg_common.errors import DatasetError
from vidseg_common.metrics.mots_counts import MotsCounts, combine_mots, count_mots
from vidseg_common.metrics.mots_data import overlaps_of_pair
from vidseg_common.metrics.mots_tables import json_numbers, mean_over_classes, mots_table
from vidseg_common.metrics.sequence_pairs import (
    SequencePair,
    pair_clips,
    pair_files,
    score_pairs,
)

__all__ = ["MotsCounts", "MotsResult", "combine_mots", "count_mots", "evaluate", "evaluate_files"]

_HEADLINE = ("sMOTSA", "MOTSA", "MOTSP", "id_switches")


@dataclass(frozen=True)
class MotsResult:
    """The sMOTSA family of a set of sequences.

    Attributes:
        counts: counts of every sequence of every class, by the names of both.
    """

    counts: Mapping[str, Mapping[str, MotsCounts]]

    def total(self, class_name: str) -> MotsCounts:
        """Counts of a class over all sequences."""
        return combine_mots(self.counts[class_name].values())

    @property
    def numbers(self) -> dict[str, float]:
        """Headline: the mean of sMOTSA over classes with ground truth, then each class."""
        totals = {name: self.total(name) for name in self.counts}
        values = {name: total.numbers() for name, total in totals.items()}
        present = [name for name, total in totals.items() if total.num_gt]
        return mean_over_classes("sMOTSA", values, present) | {
            f"{name}/{key}": row[key] for name, row in values.items() for key in _HEADLINE
        }

    def per_class(self) -> list[dict[str, Any]]:
        """All numbers of every class over all sequences."""
        return [{"class": name, **self.total(name).numbers()} for name in self.counts]

    def per_video(self) -> list[dict[str, Any]]:
        """All numbers of every sequence and class."""
        return [
            {"video": video, "class": name, **counts.numbers()}
            for name, videos in self.counts.items()
            for video, counts in videos.items()
        ]

    def to_json(self) -> dict[str, Any]:
        """Everything at full precision; infinities as "inf" and "-inf"."""
        return {
            "metric": "mots",
            "classes": {
                name: {
                    "all": json_numbers(self.total(name).numbers()),
                    **{video: json_numbers(c.numbers()) for video, c in videos.items()},
                }
                for name, videos in self.counts.items()
            },
        }

    def table(self) -> str:
        """The tables as the official tool prints them: percent, one decimal."""
        return "\n".join(
            mots_table(name, {"all": self.total(name).numbers()} | _numbers_of(videos))
            for name, videos in self.counts.items()
        )


def _numbers_of(videos: Mapping[str, MotsCounts]) -> dict[str, dict[str, float]]:
    return {video: counts.numbers() for video, counts in videos.items()}


def evaluate(
    truth: AnnotationSet, predictions: AnnotationSet, *, workers: int = 1, progress: bool = False
) -> MotsResult:
    """Scores predictions against a data set; videos are paired by name.

    Args:
        truth: the data set. Crowds count as ignore regions.
        predictions: its results, with the same videos and numbers of classes.
        workers: number of processes.
        progress: shows a bar on stderr.

    Raises:
        DatasetError: videos that do not fit, or masks of one frame that overlap.
    """
    names = truth.category_names()
    return _evaluate(pair_clips(truth, predictions), names, workers, progress)


def evaluate_files(
    results: str | Path,
    truth: str | Path,
    sequences: Iterable[tuple[str, int]],
    *,
    workers: int = 1,
    progress: bool = False,
) -> MotsResult:
    """Scores MOTS result files, text or 16-bit PNG on either side.

    Args:
        results: folder with NAME.txt or NAME/NNNNNN.png per sequence.
        truth: the same of the ground truth.
        sequences: name and index of the last frame of each, as `read_seqmap` returns them.
        workers: number of processes.
        progress: shows a bar on stderr.

    Raises:
        DatasetError: missing or malformed files; all problems in one message.
    """
    pairs = pair_files(Path(results), Path(truth), sequences)
    return _evaluate(pairs, CLASS_NAMES, workers, progress)


def _evaluate(
    pairs: Sequence[SequencePair], classes: Mapping[int, str], workers: int, progress: bool
) -> MotsResult:
    if not classes:
        raise DatasetError("the ground truth has no classes to score")
    score = partial(_score, class_ids=tuple(classes))
    found = score_pairs(score, pairs, workers=workers, progress=progress)
    return MotsResult(
        {
            name: {video: counts[class_id] for video, counts in found.items()}
            for class_id, name in classes.items()
        }
    )


def _score(pair: SequencePair, class_ids: Sequence[int]) -> dict[int, MotsCounts]:
    overlaps = overlaps_of_pair(pair, exclusive=True)
    return count_mots(overlaps, class_ids)


if __name__ == "__main__":
    from vidseg_common.errors import run_cli
    from vidseg_common.metrics.mots_cli import main

    run_cli(main)
