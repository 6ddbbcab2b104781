"""CLEAR: misses, false alarms and identity switches at IoU 0.5. Source: spec common 6.2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from vidseg_common.metrics.hota_scores import EPSILON
from vidseg_common.metrics.mots_data import ClassFrame, ClassSequence

__all__ = ["ClearCounts", "combine_clear", "count_clear"]

_THRESHOLD = 0.5
_BONUS = 1000.0
_NOBODY = -1


@dataclass(frozen=True)
class ClearCounts:
    """What CLEAR counts; sequences are joined by adding all of it.

    Attributes:
        tp: true positives.
        fn: false negatives.
        fp: false positives.
        idsw: identity switches.
        mt: mostly tracked tracks, more than 80 % of their frames.
        pt: partially tracked tracks.
        ml: mostly lost tracks, less than 20 %.
        frag: times that tracking of an object started again.
        frames: frames that count.
        overlap: sum of the IoU of the true positives.
    """

    tp: int = 0
    fn: int = 0
    fp: int = 0
    idsw: int = 0
    mt: int = 0
    pt: int = 0
    ml: int = 0
    frag: int = 0
    frames: int = 0
    overlap: float = 0.0

    def numbers(self, *, compat: bool = False, joined: bool = False) -> dict[str, float]:
        """All values by the names of the tracking tool.

        Without ground truth the accuracies are 0, as the tool has it for a sequence.

        Args:
            compat: as the tool prints them: a sequence without predictions or without ground
                truth has MLR 1 and FP_per_frame 0; the joined accuracies of a class without
                ground truth are minus its false positives.
            joined: these are the counts of all sequences.
        """
        num_gt, tracks = self.tp + self.fn, max(1, self.mt + self.pt + self.ml)
        has_truth = num_gt > 0 or (compat and joined)
        safe_log = math.log10(self.idsw) if self.idsw else 0.0

        def accuracy(gain: float) -> float:
            return gain / max(1, num_gt) if has_truth else 0.0

        is_quirk = compat and not joined and not (num_gt and self.tp + self.fp)
        return {
            "MOTA": accuracy(self.tp - self.fp - self.idsw),
            "MOTP": self.overlap / max(1, self.tp),
            "MODA": accuracy(self.tp - self.fp),
            "CLR_Re": self.tp / max(1, num_gt),
            "CLR_Pr": self.tp / max(1, self.tp + self.fp),
            "MTR": self.mt / tracks,
            "PTR": self.pt / tracks,
            "MLR": 1.0 if is_quirk else self.ml / tracks,
            "sMOTA": accuracy(self.overlap - self.fp - self.idsw),
            "CLR_F1": self.tp / max(1, self.tp + 0.5 * self.fn + 0.5 * self.fp),
            "FP_per_frame": 0.0 if is_quirk else self.fp / max(1, self.frames),
            "MOTAL": accuracy(self.tp - self.fp - safe_log),
            "MOTP_sum": self.overlap,
            "CLR_TP": self.tp,
            "CLR_FN": self.fn,
            "CLR_FP": self.fp,
            "IDSW": self.idsw,
            "MT": self.mt,
            "PT": self.pt,
            "ML": self.ml,
            "Frag": self.frag,
            "CLR_Frames": self.frames,
        }


class _Memory:
    """What is known of every ground-truth track (N of them) while frames go by.

    Attributes:
        last: prediction that matched it last, any time ago.
        previous: prediction that matched it in the last frame with objects on both sides.
        matched: number of frames in which it was matched.
        present: number of frames in which it exists.
        starts: number of times tracking of it started.
    """

    def __init__(self, num_tracks: int) -> None:
        self.last = np.full(num_tracks, _NOBODY)
        self.previous = np.full(num_tracks, _NOBODY)
        self.matched = np.zeros(num_tracks, np.int64)
        self.present = np.zeros(num_tracks, np.int64)
        self.starts = np.zeros(num_tracks, np.int64)

    def update(self, gt: NDArray[np.int64], pred: NDArray[np.int64]) -> int:
        """Takes in the matched pairs of a frame and returns the number of identity switches."""
        switches = (self.last[gt] != _NOBODY) & (self.last[gt] != pred)
        self.starts[gt] += self.previous[gt] == _NOBODY
        self.matched[gt] += 1
        self.last[gt] = pred
        self.previous[:] = _NOBODY
        self.previous[gt] = pred
        return int(switches.sum())


def count_clear(sequence: ClassSequence, *, compat: bool = False) -> ClearCounts:
    """Counts one class of one sequence.

    Args:
        sequence: without the ignored predictions, see `hota_scores.drop_ignored`.
        compat: as the tracking tool: the frames of a sequence without ground truth or without
            predictions do not count.
    """
    memory = _Memory(sequence.num_gt_tracks)
    tp, idsw, overlap = 0, 0, 0.0
    for frame in sequence.frames:
        memory.present[frame.gt] += 1
        if frame.iou.size:
            rows, columns = _match(frame, memory.previous)
            idsw += memory.update(frame.gt[rows], frame.pred[columns])
            tp += len(rows)
            overlap += float(frame.iou[rows, columns].sum())
    num_gt, num_pred = sequence.num_gt, sequence.num_pred
    tracked = memory.matched / np.maximum(1, memory.present)
    mt, at_least_part = int((tracked > 0.8).sum()), int((tracked >= 0.2).sum())
    return ClearCounts(
        tp=tp,
        fn=num_gt - tp,
        fp=num_pred - tp,
        idsw=idsw,
        mt=mt,
        pt=at_least_part - mt,
        ml=sequence.num_gt_tracks - at_least_part,
        frag=int((memory.starts[memory.starts > 0] - 1).sum()),
        frames=0 if compat and not (num_gt and num_pred) else len(sequence.frames),
        overlap=overlap,
    )


def _match(
    frame: ClassFrame, previous: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the matched pairs; those of the previous frame come first."""
    score = frame.iou + _BONUS * (previous[frame.gt][:, None] == frame.pred[None, :])
    score[frame.iou < _THRESHOLD - EPSILON] = 0.0
    rows, columns = linear_sum_assignment(score, maximize=True)
    keep = score[rows, columns] > EPSILON
    return rows[keep], columns[keep]


def combine_clear(parts: Sequence[ClearCounts]) -> ClearCounts:
    """Adds the counts of sequences."""
    return ClearCounts(
        **{f.name: sum(getattr(part, f.name) for part in parts) for f in fields(ClearCounts)}
    )
