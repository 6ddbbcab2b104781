"""The sMOTSA family of KITTI-MOTS and MOTSChallenge, equal to the official MOTS tool.

    python -m vidseg_common.metrics.mots RESULTS GT SEQMAP

A prediction matches a ground truth where their IoU is above 0.5 (exactly 0.5 is no match; masks
do not overlap, so there is at most one). Source: spec common section 6.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.datasets.mots_files import CLASS_NAMES
from vidseg_common.errors import DatasetError
from vidseg_common.metrics.mots_data import ClassSequence, overlaps_of_pair, select_class
from vidseg_common.metrics.mots_tables import json_numbers, mean_over_classes, mots_table
from vidseg_common.metrics.sequence_pairs import (
    SequencePair,
    pair_clips,
    pair_files,
    score_pairs,
)

__all__ = ["MotsCounts", "MotsResult", "combine_mots", "count_mots", "evaluate", "evaluate_files"]

_THRESHOLD = 0.5
_NOBODY = -1
_HEADLINE = ("sMOTSA", "MOTSA", "MOTSP", "id_switches")


@dataclass(frozen=True)
class MotsCounts:
    """What the sMOTSA family counts of one class; sequences are joined by adding all of it.

    Attributes:
        num_frames: frames of the sequence.
        num_gt: ground-truth objects of all frames.
        num_pred: predictions of all frames, ignored ones too.
        num_ignored: predictions that matched nothing and lie mostly in the ignore region.
        tp: matched objects.
        fp: predictions neither matched nor ignored.
        fn: objects not matched.
        soft_tp: sum of the IoU of the matched objects.
        precision_sum: sum over frames of the mean IoU of the matches, 1 for a frame without.
        id_switches: times the prediction of a track changed.
        fragments: times a track was found again by another prediction or after a gap.
        mostly_tracked: tracks matched in more than 80 % of their frames.
        partly_tracked: the tracks between.
        mostly_lost: tracks matched in less than 20 %.
        num_gt_tracks: ground-truth tracks.
        num_pred_tracks: predicted tracks.
    """

    num_frames: int
    num_gt: int
    num_pred: int
    num_ignored: int
    tp: int
    fp: int
    fn: int
    soft_tp: float
    precision_sum: float
    id_switches: int
    fragments: int
    mostly_tracked: int
    partly_tracked: int
    mostly_lost: int
    num_gt_tracks: int
    num_pred_tracks: int

    def numbers(self) -> dict[str, float]:
        """All numbers by the names of the official tool; fractions, not percent.

        Without ground truth the accuracies are -inf, without a match MOTSP is inf.
        """
        both = self.tp + self.fp and self.tp + self.fn
        return {
            "n_gt_trajectories": self.num_gt_tracks,
            "n_tr_trajectories": self.num_pred_tracks,
            "total_num_frames": self.num_frames,
            "n_gt": self.num_gt,
            "n_tr": self.num_pred,
            "n_itr": self.num_ignored,
            "tp": self.tp,
            "fp": self.fp,
            "fn": self.fn,
            **self._accuracies(),
            "MODSP": self.precision_sum / max(1, self.num_frames),
            "recall": self.tp / (self.tp + self.fn) if both else 0.0,
            "precision": self.tp / (self.tp + self.fp) if both else 0.0,
            "F1": 2 * self.tp / (2 * self.tp + self.fp + self.fn) if both else 0.0,
            "FAR": self.fp / max(1, self.num_frames),
            "total_cost": self.soft_tp,
            "fragments": self.fragments,
            "id_switches": self.id_switches,
            "MT": self.mostly_tracked / max(1, self.num_gt_tracks),
            "PT": self.partly_tracked / max(1, self.num_gt_tracks),
            "ML": self.mostly_lost / max(1, self.num_gt_tracks),
        }

    def _accuracies(self) -> dict[str, float]:
        log_switches = math.log10(self.id_switches) if self.id_switches else 0.0
        errors = self.fn + self.fp

        def one_minus(lost: float) -> float:
            return 1 - lost / self.num_gt if self.num_gt else -math.inf

        soft_gain = self.soft_tp - self.fp - self.id_switches
        return {
            "MOTSA": one_minus(errors + self.id_switches),
            "sMOTSA": soft_gain / self.num_gt if self.num_gt else -math.inf,
            "MOTSP": self.soft_tp / self.tp if self.tp else math.inf,
            "MOTSAL": one_minus(errors + log_switches),
            "MODSA": one_minus(errors),
        }


def count_mots(sequence: ClassSequence) -> MotsCounts:
    """Counts one class of one sequence."""
    histories: list[list[int]] = [[] for _ in range(sequence.num_gt_tracks)]
    tp, num_ignored, soft_tp, precision_sum = 0, 0, 0.0, 0.0
    for frame in sequence.frames:
        rows, columns = np.nonzero(frame.iou > _THRESHOLD)
        partner = np.full(len(frame.gt), _NOBODY)
        partner[rows] = frame.pred[columns]
        for track, prediction in zip(frame.gt.tolist(), partner.tolist(), strict=True):
            histories[track].append(prediction)
        overlap = float(frame.iou[rows, columns].sum())
        tp += len(rows)
        soft_tp += overlap
        precision_sum += overlap / len(rows) if len(rows) else 1.0
        if frame.ignored.any():
            num_ignored += _count_ignored(frame.ignored, columns)
    events = [_events_of(history) for history in histories]
    shares = [sum(p != _NOBODY for p in history) / len(history) for history in histories]
    mostly_tracked, mostly_lost = sum(s > 0.8 for s in shares), sum(s < 0.2 for s in shares)
    num_gt, num_pred = sequence.num_gt, sequence.num_pred
    return MotsCounts(
        num_frames=len(sequence.frames),
        num_gt=num_gt,
        num_pred=num_pred,
        num_ignored=num_ignored,
        tp=tp,
        fp=num_pred - tp - num_ignored,
        fn=num_gt - tp,
        soft_tp=soft_tp,
        precision_sum=precision_sum,
        id_switches=sum(switches for switches, _ in events),
        fragments=sum(fragments for _, fragments in events),
        mostly_tracked=mostly_tracked,
        partly_tracked=len(shares) - mostly_tracked - mostly_lost,
        mostly_lost=mostly_lost,
        num_gt_tracks=sequence.num_gt_tracks,
        num_pred_tracks=sequence.num_pred_tracks,
    )


def _count_ignored(ignored: NDArray[np.float64], matched: NDArray[np.intp]) -> int:
    inside = ignored > _THRESHOLD
    inside[matched] = False
    return int(inside.sum())


def _events_of(history: Sequence[int]) -> tuple[int, int]:
    """Identity switches and fragments of a track.

    Args:
        history: the matched prediction in every frame where the track exists, -1 for none.
    """
    switches, fragments = 0, 0
    if not history:
        return 0, 0
    last, final = history[0], len(history) - 1
    for f in range(1, len(history)):
        now, before = history[f], history[f - 1]
        if now == _NOBODY:
            continue
        switches += last not in (_NOBODY, now)
        if f == final:
            # At the end the tool looks at the memory after this frame, which is never empty.
            fragments += before != now
        else:
            fragments += before != now and last != _NOBODY and history[f + 1] != _NOBODY
        last = now
    return switches, fragments


def combine_mots(parts: Iterable[MotsCounts]) -> MotsCounts:
    """Adds the counts of sequences."""
    held = list(parts)
    return MotsCounts(**{f.name: sum(getattr(p, f.name) for p in held) for f in fields(MotsCounts)})


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
    return {class_id: count_mots(select_class(overlaps, class_id)) for class_id in class_ids}


if __name__ == "__main__":
    from vidseg_common.errors import run_cli
    from vidseg_common.metrics.mots_cli import main

    run_cli(main)
