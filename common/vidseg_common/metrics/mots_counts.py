"""What the sMOTSA family counts, and its numbers. Source: spec common section 6.1."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidseg_common.metrics.mots_data import FrameOverlaps

__all__ = ["MotsCounts", "combine_mots", "count_mots"]

_THRESHOLD = 0.5
_NOBODY = -1


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


def count_mots(
    overlaps: Sequence[FrameOverlaps], class_ids: Iterable[int]
) -> dict[int, MotsCounts]:
    """Counts every class of one sequence.

    Args:
        overlaps: of every frame, which do not differ in their classes' numbers.
        class_ids: numbers of the classes to count.
    """
    matches = _match(overlaps)
    return {class_id: _count_class(matches, class_id) for class_id in class_ids}


@dataclass(frozen=True)
class _Matches:
    """The objects of all frames of a sequence, and which of them match.

    Attributes:
        num_frames: frames of the sequence.
        gt_ids: (G,) ids of the ground truth of all frames, in order of the frames.
        gt_classes: (G,) their classes.
        gt_frames: (G,) their frames.
        partner: (G,) which of the predictions matches, -1 for none.
        overlap: (G,) IoU with it, 0 for none.
        pred_ids: (P,) ids of the predictions.
        pred_classes: (P,) their classes.
        is_ignored: (P,) whether they matched nothing and lie mostly in the ignore region.
    """

    num_frames: int
    gt_ids: NDArray[np.int64]
    gt_classes: NDArray[np.int64]
    gt_frames: NDArray[np.int64]
    partner: NDArray[np.int64]
    overlap: NDArray[np.float64]
    pred_ids: NDArray[np.int64]
    pred_classes: NDArray[np.int64]
    is_ignored: NDArray[np.bool_]


def _match(overlaps: Sequence[FrameOverlaps]) -> _Matches:
    num_gt = np.array([len(frame.gt_ids) for frame in overlaps], np.int64)
    num_pred = np.array([len(frame.pred_ids) for frame in overlaps], np.int64)
    gt_classes = _joined([frame.gt_classes for frame in overlaps], np.int64)
    pred_classes = _joined([frame.pred_classes for frame in overlaps], np.int64)
    iou = _joined([frame.iou.ravel() for frame in overlaps], np.float64)
    places = np.flatnonzero(iou > _THRESHOLD)
    stops = (num_gt * num_pred).cumsum()
    frames = np.searchsorted(stops, places, side="right")
    inside = places - (stops - num_gt * num_pred)[frames]
    rows = inside // num_pred[frames] + (num_gt.cumsum() - num_gt)[frames]
    columns = inside % num_pred[frames] + (num_pred.cumsum() - num_pred)[frames]
    same = gt_classes[rows] == pred_classes[columns]
    rows, columns = rows[same], columns[same]
    partner, overlap = np.full(len(gt_classes), _NOBODY), np.zeros(len(gt_classes))
    partner[rows], overlap[rows] = columns, iou[places[same]]
    is_ignored = _joined([frame.ignored for frame in overlaps], np.float64) > _THRESHOLD
    is_ignored[columns] = False
    return _Matches(
        num_frames=len(overlaps),
        gt_ids=_joined([frame.gt_ids for frame in overlaps], np.int64),
        gt_classes=gt_classes,
        gt_frames=np.repeat(np.arange(len(overlaps)), num_gt),
        partner=partner,
        overlap=overlap,
        pred_ids=_joined([frame.pred_ids for frame in overlaps], np.int64),
        pred_classes=pred_classes,
        is_ignored=is_ignored,
    )


def _joined(parts: Sequence[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts])


def _count_class(matches: _Matches, class_id: int) -> MotsCounts:
    gt, pred = matches.gt_classes == class_id, matches.pred_classes == class_id
    is_matched = gt & (matches.partner != _NOBODY)
    frames = matches.gt_frames[is_matched]
    soft = np.bincount(frames, matches.overlap[is_matched], matches.num_frames)
    found = np.bincount(frames, minlength=matches.num_frames)
    histories = _histories(matches, gt)
    events = [_events_of(history) for history in histories]
    shares = [sum(p != _NOBODY for p in history) / len(history) for history in histories]
    mostly_tracked, mostly_lost = sum(s > 0.8 for s in shares), sum(s < 0.2 for s in shares)
    tp, num_gt, num_pred = len(frames), int(gt.sum()), int(pred.sum())
    num_ignored = int((matches.is_ignored & pred).sum())
    return MotsCounts(
        num_frames=matches.num_frames,
        num_gt=num_gt,
        num_pred=num_pred,
        num_ignored=num_ignored,
        tp=tp,
        fp=num_pred - tp - num_ignored,
        fn=num_gt - tp,
        soft_tp=float(soft.sum()),
        precision_sum=float(np.where(found > 0, soft / np.maximum(found, 1), 1.0).sum()),
        id_switches=sum(switches for switches, _ in events),
        fragments=sum(fragments for _, fragments in events),
        mostly_tracked=mostly_tracked,
        partly_tracked=len(shares) - mostly_tracked - mostly_lost,
        mostly_lost=mostly_lost,
        num_gt_tracks=len(histories),
        num_pred_tracks=len(np.unique(matches.pred_ids[pred])),
    )


def _histories(matches: _Matches, gt: NDArray[np.bool_]) -> list[list[int]]:
    """For every track of one class its partner in every frame where it exists, -1 for none."""
    # Partners are numbered by id, as -1 may be an id too.
    numbers = np.unique(matches.pred_ids, return_inverse=True)[1]
    partner, ids = matches.partner[gt], matches.gt_ids[gt]
    names = np.full(len(ids), _NOBODY)
    names[partner != _NOBODY] = numbers[partner[partner != _NOBODY]]
    order = np.argsort(ids, kind="stable")
    borders = np.flatnonzero(np.diff(ids[order])) + 1
    return [part.tolist() for part in np.split(names[order], borders) if len(part)]


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
