"""HOTA: detection and association at 19 overlap thresholds. Source: spec common section 6.2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from vidseg_common.metrics.mots_data import ClassFrame, ClassSequence, number_tracks

__all__ = ["ALPHAS", "EPSILON", "HotaScores", "combine_hota", "drop_ignored", "score_hota"]

ALPHAS = np.arange(0.05, 0.99, 0.05)
EPSILON = float(np.finfo(float).eps)
_TINY = 1e-10
_THRESHOLD = 0.5

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class HotaScores:
    """What HOTA is made of; every field has one value per threshold (19).

    Attributes:
        tp: true positives.
        fn: false negatives.
        fp: false positives.
        ass_a: association accuracy.
        ass_re: association recall.
        ass_pr: association precision.
        loc_a: localisation accuracy.
    """

    tp: Curve
    fn: Curve
    fp: Curve
    ass_a: Curve
    ass_re: Curve
    ass_pr: Curve
    loc_a: Curve

    def curves(self) -> dict[str, Curve]:
        """All values by the names of the tracking tool, one per threshold."""
        det_a = self.tp / np.maximum(1.0, self.tp + self.fn + self.fp)
        det_re = self.tp / np.maximum(1.0, self.tp + self.fn)
        det_pr = self.tp / np.maximum(1.0, self.tp + self.fp)
        return {
            "HOTA": np.sqrt(det_a * self.ass_a),
            "DetA": det_a,
            "AssA": self.ass_a,
            "DetRe": det_re,
            "DetPr": det_pr,
            "AssRe": self.ass_re,
            "AssPr": self.ass_pr,
            "LocA": self.loc_a,
            "OWTA": np.sqrt(det_re * self.ass_a),
            "HOTA_TP": self.tp,
            "HOTA_FN": self.fn,
            "HOTA_FP": self.fp,
        }

    def at_lowest(self) -> dict[str, float]:
        """The values at the lowest threshold, where nearly every overlap counts."""
        hota, loc_a = float(self.curves()["HOTA"][0]), float(self.loc_a[0])
        return {"HOTA(0)": hota, "LocA(0)": loc_a, "HOTALocA(0)": hota * loc_a}


def drop_ignored(sequence: ClassSequence) -> ClassSequence:
    """Removes the predictions that match nothing and lie mostly inside the ignore region.

    HOTA, CLEAR and Identity are computed from what is left; an IoU of exactly 0.5 is a match.
    """
    return number_tracks([_drop_ignored(frame) for frame in sequence.frames])


def _drop_ignored(frame: ClassFrame) -> ClassFrame:
    inside = frame.ignored > _THRESHOLD + EPSILON
    if not inside.any():
        return frame
    allowed = np.where(frame.iou < _THRESHOLD - EPSILON, 0.0, frame.iou)
    rows, columns = linear_sum_assignment(allowed, maximize=True)
    inside[columns[allowed[rows, columns] > EPSILON]] = False
    keep = ~inside
    return ClassFrame(frame.gt, frame.pred[keep], frame.iou[:, keep], frame.ignored[keep])


def score_hota(sequence: ClassSequence) -> HotaScores:
    """Scores one class of one sequence.

    Args:
        sequence: without the ignored predictions, see `drop_ignored`.
    """
    num_gt, num_pred = _track_lengths(sequence)
    gt, pred, overlap = _match(sequence, _alignment(sequence, num_gt, num_pred))
    tp, loc, ass_a, ass_re, ass_pr = (np.zeros(len(ALPHAS)) for _ in range(5))
    for a, alpha in enumerate(ALPHAS):
        keep = overlap >= alpha - EPSILON
        tp[a], loc[a] = keep.sum(), overlap[keep].sum()
        pairs = gt[keep] * max(1, len(num_pred)) + pred[keep]
        pairs, count = np.unique(pairs, return_counts=True)
        of_gt = num_gt[pairs // max(1, len(num_pred))]
        of_pred = num_pred[pairs % max(1, len(num_pred))]
        squares = count.astype(np.float64) ** 2
        ass_a[a] = (squares / np.maximum(1, of_gt + of_pred - count)).sum()
        ass_re[a] = (squares / np.maximum(1, of_gt)).sum()
        ass_pr[a] = (squares / np.maximum(1, of_pred)).sum()
    at_least_one = np.maximum(1.0, tp)
    return HotaScores(
        tp=tp,
        fn=sequence.num_gt - tp,
        fp=sequence.num_pred - tp,
        ass_a=ass_a / at_least_one,
        ass_re=ass_re / at_least_one,
        ass_pr=ass_pr / at_least_one,
        loc_a=np.maximum(_TINY, loc) / np.maximum(_TINY, tp),
    )


def _track_lengths(sequence: ClassSequence) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of objects of every ground-truth track and of every predicted one."""
    num_gt = np.zeros(sequence.num_gt_tracks, np.int64)
    num_pred = np.zeros(sequence.num_pred_tracks, np.int64)
    for frame in sequence.frames:
        num_gt[frame.gt] += 1
        num_pred[frame.pred] += 1
    return num_gt, num_pred


def _alignment(
    sequence: ClassSequence, num_gt: NDArray[np.int64], num_pred: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How well each pair of tracks agrees over the whole sequence: (tracks, tracks), 0..1."""
    potential = np.zeros((len(num_gt), len(num_pred)))
    for frame in sequence.frames:
        if frame.iou.size:
            rest = frame.iou.sum(0)[None, :] + frame.iou.sum(1)[:, None] - frame.iou
            share = np.divide(frame.iou, rest, out=np.zeros_like(rest), where=rest > EPSILON)
            potential[frame.gt[:, None], frame.pred] += share
    return potential / np.maximum(num_gt[:, None] + num_pred[None, :] - potential, EPSILON)


def _match(
    sequence: ClassSequence, alignment: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Tracks and IoU of every matched pair of objects, frame after frame."""
    found: list[tuple[NDArray, NDArray, NDArray]] = []
    for frame in sequence.frames:
        if frame.iou.size:
            score = alignment[frame.gt[:, None], frame.pred] * frame.iou
            rows, columns = linear_sum_assignment(score, maximize=True)
            found.append((frame.gt[rows], frame.pred[columns], frame.iou[rows, columns]))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    gt, pred, overlap = (np.concatenate(part) for part in zip(*found, strict=True))
    return gt, pred, overlap


def combine_hota(parts: Sequence[HotaScores]) -> HotaScores:
    """Joins sequences: counts are summed, the rest is averaged with the true positives."""
    tp, fn, fp = (sum(getattr(p, name) for p in parts) for name in ("tp", "fn", "fp"))
    weighted = {
        name: np.sum([getattr(part, name) * part.tp for part in parts], axis=0)
        for name in (f.name for f in fields(HotaScores))
        if name not in ("tp", "fn", "fp")
    }
    location = np.maximum(_TINY, weighted.pop("loc_a")) / np.maximum(_TINY, tp)
    averages = {name: total / np.maximum(1.0, tp) for name, total in weighted.items()}
    return HotaScores(tp=tp, fn=fn, fp=fp, loc_a=location, **averages)
