"""Matching and accumulation of average precision, shared by every benchmark that reports it.

A benchmark cuts its data into groups: the detections and the ground truth of one category in one
video or image, with the IoU of every pair. `match` decides which detections are right, and
`accumulate` turns the matches of a category into precision and recall. What differs between
benchmarks is a `Protocol` and how they compute IoU and areas. Source: spec common section 5.

T thresholds, R recalls, K categories, A area ranges, L level ranges, M limits, D detections,
G ground truths, C detections that overlap some ground truth enough, N detections of a category.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ALL",
    "RECALLS",
    "THRESHOLDS",
    "Curves",
    "Group",
    "Matches",
    "Protocol",
    "Range",
    "accumulate",
    "match",
    "top_order",
]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MOST_CELLS = 1 << 22  # cells of thresholds x ranges x detections handled at a time


@dataclass(frozen=True)
class Range:
    """A named range of values, both ends inclusive."""

    name: str
    low: float
    high: float


ALL = Range("all", 0.0, 1e10)
"""The range that everything lies in."""

THRESHOLDS: tuple[float, ...] = tuple(float(value) for value in np.linspace(0.5, 0.95, 10))
"""IoU thresholds 0.50, 0.55, ..., 0.95."""

RECALLS: tuple[float, ...] = tuple(float(value) for value in np.linspace(0.0, 1.0, 101))
"""Recalls 0.00, 0.01, ..., 1.00 at which precision is read."""


@dataclass(frozen=True)
class Protocol:
    """The numbers that define a benchmark.

    Attributes:
        areas: ranges of area. Ground truth outside is ignored, and so are unmatched detections
            outside.
        levels: ranges of a second property that only ground truth has, such as occlusion.
            Ground truth outside is ignored, detections never are.
        max_dets: limits on the detections of a group, ascending.
        thresholds: IoU thresholds, ascending.
        recalls: recalls at which precision is read, ascending.
    """

    areas: tuple[Range, ...] = (ALL,)
    levels: tuple[Range, ...] = (ALL,)
    max_dets: tuple[int, ...] = (1, 10, 100)
    thresholds: tuple[float, ...] = THRESHOLDS
    recalls: tuple[float, ...] = RECALLS


@dataclass(frozen=True)
class Group:
    """One category in one video or image.

    Attributes:
        scores: (D,) descending, at most as many as the largest limit (see `top_order`).
        areas: (D,) areas of the detections.
        gt_areas: (G,) areas of the ground truth, in the order of the file.
        gt_crowd: (G,) marks ground truth that is ignored and may be matched again and again.
        iou: (D, G).
        gt_levels: (G,) second property of the ground truth, None where the benchmark has none.
    """

    scores: Floats
    areas: Floats
    gt_areas: Floats
    gt_crowd: Bools
    iou: Floats
    gt_levels: Floats | None = None


@dataclass(frozen=True)
class Matches:
    """What became of the detections of a group.

    Only detections whose IoU with some ground truth reaches the lowest threshold are stored
    (`rows`, C of them); the others are unmatched, and ignored where their area is outside.

    Attributes:
        scores: (D,) descending.
        outside: (A, D) area outside the range.
        rows: (C,) ascending indices into the D detections.
        matched: (T, A, L, C).
        ignored: (T, A, L, C).
        num_gt: (A, L) ground truths that are not ignored.
    """

    scores: Floats
    outside: Bools
    rows: Ints
    matched: Bools
    ignored: Bools
    num_gt: Ints


@dataclass(frozen=True)
class Curves:
    """Precision and recall of one category; -1 where it has no ground truth.

    Attributes:
        precision: (T, R, A, L, M).
        recall: (T, A, L, M).
        scores: (T, R, A, L, M) score at which the recall is reached, 0 where it is not.
        num_gt: (A, L) ground truths that are not ignored.
    """

    precision: Floats
    recall: Floats
    scores: Floats
    num_gt: Ints


def top_order(scores: ArrayLike, limit: int) -> Ints:
    """Indices of the best detections, descending; equal scores stay in the order of the file.

    Args:
        scores: (D,) in the order of the file.
        limit: the most to keep.
    """
    return np.argsort(-np.asarray(scores, np.float64), kind="stable")[:limit]


def match(group: Group, protocol: Protocol) -> Matches:
    """Gives every detection, best first, the free ground truth it overlaps most.

    Ground truth that counts goes before ignored ground truth, whatever the IoU. Of equal IoU the
    later one wins. All thresholds and ranges are decided side by side.

    Args:
        group: detections and ground truth.
        protocol: thresholds and ranges.
    """
    in_level: Bools = np.ones((len(protocol.levels), len(group.gt_areas)), bool)
    if group.gt_levels is not None:
        in_level = _inside(protocol.levels, group.gt_levels)
    in_area = _inside(protocol.areas, group.gt_areas)
    ignored_gt = ~(in_area[:, None] & in_level) | group.gt_crowd  # A, L, G
    outside = ~_inside(protocol.areas, group.areas)  # A, D
    best = np.minimum(protocol.thresholds, 1 - 1e-10)
    rows = np.flatnonzero((group.iou >= best.min()).any(axis=1))
    shape = (len(best), *ignored_gt.shape[:2], len(rows))
    matched, ignored = np.zeros(shape, bool), np.zeros(shape, bool)
    free = np.ones((len(best), *ignored_gt.shape), bool)  # T, A, L, G
    for index, row in enumerate(rows):
        hit, ignore = _match_one(group.iou[row], best, ignored_gt, group.gt_crowd, free)
        matched[..., index] = hit
        ignored[..., index] = np.where(hit, ignore, outside[:, row, None])
    num_gt = (~ignored_gt).sum(axis=-1)
    return Matches(group.scores, outside, rows, matched, ignored, num_gt)


def _inside(ranges: Sequence[Range], values: Floats) -> Bools:
    """Which of N ranges have each of V values, (N, V)."""
    low = np.array([[one.low] for one in ranges])
    high = np.array([[one.high] for one in ranges])
    return (values >= low) & (values <= high)


def _match_one(
    iou: Floats, best: Floats, ignored_gt: Bools, crowd: Bools, free: Bools
) -> tuple[Bools, Bools]:
    """Matches one detection at all thresholds and ranges and takes its ground truth from `free`.

    Returns:
        Matched and ignored, (T, A, L) each.
    """
    candidates = np.flatnonzero(iou >= best.min())
    if len(candidates) == 1:
        only = int(candidates[0])
        hit = free[..., only] & (iou[only] >= best)[:, None, None]
        if not crowd[only]:
            free[..., only] &= ~hit
        return hit, hit & ignored_gt[..., only]
    candidates = candidates[np.argsort(iou[candidates], kind="stable")]  # best and latest last
    enough = iou[candidates] >= best[:, None, None, None]  # T, 1, 1, candidates
    possible = enough & free[..., candidates]
    counting = possible & ~ignored_gt[..., candidates]
    counts: Bools = np.any(counting, axis=-1)
    # Ignored ground truth only where no ground truth that counts is left.
    chosen_of = np.where(counts[..., None], counting, possible)
    hit = np.any(chosen_of, axis=-1)
    chosen = candidates[len(candidates) - 1 - chosen_of[..., ::-1].argmax(axis=-1)]  # T, A, L
    t, a, o = np.nonzero(hit & ~crowd[chosen])
    free[t, a, o, chosen[t, a, o]] = False
    return hit, hit & ~counts


def accumulate(groups: Sequence[Matches], protocol: Protocol) -> Curves:
    """Joins the matches of one category into precision and recall.

    Args:
        groups: one per video or image, in ascending order of its number. A video with ground
            truth or detections of the category must be there.
        protocol: as it was for `match`.
    """
    shape = tuple(
        len(axis)
        for axis in (
            protocol.thresholds,
            protocol.recalls,
            protocol.areas,
            protocol.levels,
            protocol.max_dets,
        )
    )
    precision, at_scores = np.full(shape, -1.0), np.full(shape, -1.0)
    recall = np.full((shape[0], *shape[2:]), -1.0)
    num_gt = np.zeros(shape[2:4], np.int64)
    for group in groups:
        num_gt += group.num_gt
    curves = Curves(precision, recall, at_scores, num_gt)
    if not num_gt.any():
        return curves
    joined = _Joined(groups)
    cells = np.argwhere(num_gt)  # pairs of area and level range
    step = max(1, _MOST_CELLS // (shape[0] * max(len(joined.scores), 1)))
    for start in range(0, len(cells), step):
        _fill(curves, joined, cells[start : start + step], protocol)
    return curves


class _Joined:
    """The detections of a category from all videos, by descending score.

    Attributes:
        scores: (N,).
        ranks: (N,) place of each within its video, from 0.
        most: number of detections of the fullest video.
    """

    def __init__(self, groups: Sequence[Matches]) -> None:
        self._groups = groups
        lengths = [len(group.scores) for group in groups]
        scores = np.concatenate([group.scores for group in groups])
        self._order = np.argsort(-scores, kind="stable")
        self.scores = scores[self._order]
        self.ranks = np.concatenate([np.arange(length) for length in lengths])[self._order]
        self.most = max(lengths)
        starts = np.cumsum([0, *lengths[:-1]])
        self._rows = np.concatenate(
            [group.rows + start for group, start in zip(groups, starts, strict=True)]
        )

    def right_and_wrong(self, areas: Ints, levels: Ints) -> tuple[Bools, Bools]:
        """True and false positives in S pairs of an area and a level range.

        Args:
            areas: (S,) indices of area ranges.
            levels: (S,) indices of level ranges.

        Returns:
            (T, S, N) each.
        """
        groups = self._groups
        outside = np.concatenate([group.outside[areas] for group in groups], axis=-1)
        matched = np.concatenate([group.matched[:, areas, levels] for group in groups], axis=-1)
        ignored = np.concatenate([group.ignored[:, areas, levels] for group in groups], axis=-1)
        right = np.zeros((len(matched), *outside.shape), bool)
        wrong = np.repeat(~outside[None], len(matched), axis=0)
        right[..., self._rows] = matched & ~ignored
        wrong[..., self._rows] = ~matched & ~ignored
        return right[..., self._order], wrong[..., self._order]


def _fill(curves: Curves, joined: _Joined, cells: Ints, protocol: Protocol) -> None:
    """Fills in the curves of some pairs (area, level), (S, 2), at all limits."""
    areas, levels = cells.T
    num_gt = curves.num_gt[areas, levels]
    right, wrong = joined.right_and_wrong(areas, levels)
    needed = np.stack([_needed(int(n), protocol.recalls) for n in num_gt])
    limits = protocol.max_dets
    for m in reversed(range(len(limits))):
        # A limit that cuts nothing off has the curve of the limit above.
        if m == len(limits) - 1 or limits[m] < joined.most:
            keep = joined.ranks < limits[m]
            curve = _curve(right[..., keep], wrong[..., keep], joined.scores[keep], needed)
        precision, num_right, reached = curve
        curves.precision[:, :, areas, levels, m] = precision.swapaxes(1, 2)
        curves.recall[:, areas, levels, m] = num_right / num_gt
        curves.scores[:, :, areas, levels, m] = reached.swapaxes(1, 2)


def _needed(num_gt: int, recalls: Sequence[float]) -> Ints:
    """The fewest true positives with which each recall is reached, (R,)."""
    return np.searchsorted(np.arange(num_gt + 1) / num_gt, recalls)


def _curve(right: Bools, wrong: Bools, scores: Floats, needed: Ints) -> tuple[Floats, Ints, Floats]:
    """Precision envelope read where the number of true positives first reaches `needed`.

    Args:
        right: (T, S, N) true positives, by descending score.
        wrong: (T, S, N) false positives.
        scores: (N,).
        needed: (S, R) numbers of true positives.

    Returns:
        Precision (T, S, R), number of true positives (T, S) and score (T, S, R); precision and
        score are 0 where the recall is never reached.
    """
    shape = (*right.shape[:2], needed.shape[1])
    if not len(scores):
        return np.zeros(shape), np.zeros(shape[:2], np.int64), np.zeros(shape)
    num_right = right.cumsum(axis=-1, dtype=np.float64)
    num_wrong = wrong.cumsum(axis=-1, dtype=np.float64)
    precision = num_right / (num_wrong + num_right + np.spacing(1.0))
    envelope = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    totals = num_right[..., -1].astype(np.int64)
    # The places of all true positives, curve after curve: those of a curve start at `first`.
    places = np.nonzero(right)[-1]
    first = (totals.cumsum() - totals.ravel()).reshape(totals.shape)
    reached = needed <= totals[..., None]
    # Without need of a true positive the best detection is the place: the 0 that is appended.
    wanted = np.where(reached & (needed > 0), first[..., None] + needed - 1, -1)
    place = np.append(places, 0)[wanted]
    q = np.where(reached, np.take_along_axis(envelope, place, axis=-1), 0.0)
    return q, totals, np.where(reached, scores[place], 0.0)
