"""Matching and accumulation of average precision, shared by every benchmark that reports it.

A benchmark cuts its data into groups: the detections and the ground truth of one category in one
video or image, with the IoU of every pair. `match` decides which detections are right, and
`accumulate` turns the matches of a category into precision and recall. What differs between
benchmarks is a `Protocol` and how they compute IoU and areas. Source: spec common section 5.

T thresholds, R recalls, K categories, A area ranges, L level ranges, M limits, D detections,
G ground truths, C detections that overlap some ground truth enough, N detections of a category.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

_MOST_CELLS = 1 << 18  # thresholds x ranges x detections handled at a time; stays in the cache


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
    """Precision and recall of every category; -1 where it has no ground truth.

    Attributes:
        precision: (T, R, K, A, L, M).
        recall: (T, K, A, L, M).
        scores: (T, R, K, A, L, M) score at which the recall is reached, 0 where it is not.
        num_gt: (K, A, L) ground truths that are not ignored.
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


def accumulate(categories: Sequence[Sequence[Matches]], protocol: Protocol) -> Curves:
    """Joins the matches of every category into precision and recall.

    Args:
        categories: one list per category, with one item per video or image, in ascending order of
            its number. A video with ground truth or detections of the category must be there.
        protocol: as it was for `match`.
    """
    ranges = (len(protocol.areas), len(protocol.levels))
    cells = (len(categories), *ranges, len(protocol.max_dets))
    num_t, num_r = len(protocol.thresholds), len(protocol.recalls)
    # A curve lies in one piece, and all of them in one block, which the system hands out faster.
    precision, scores = np.full((2, *cells, num_t, num_r), -1.0).transpose(0, 5, 6, 1, 2, 3, 4)
    recall = np.full((num_t, *cells), -1.0)
    curves = Curves(precision, recall, scores, num_gt=np.zeros(cells[:3], np.int64))
    for k, groups in enumerate(categories):
        for group in groups:
            curves.num_gt[k] += group.num_gt
    lengths = np.array([sum(len(group.scores) for group in groups) for groups in categories])
    for batch in _batches(curves.num_gt, lengths, num_t):
        _fill(curves, batch, [categories[k] for k in batch], protocol)
    return curves


def _batches(num_gt: Ints, lengths: Ints, num_thresholds: int) -> Iterator[Ints]:
    """Categories with ground truth, those of about as many detections together.

    Args:
        num_gt: (K, A, L).
        lengths: (K,) detections.
        num_thresholds: T.
    """
    wanted = np.flatnonzero(num_gt.any(axis=(1, 2)))
    wanted = wanted[np.argsort(lengths[wanted], kind="stable")]
    start = 0
    for stop in range(1, len(wanted) + 1):
        # All are padded to the length of the longest, the last.
        longer = lengths[wanted[min(stop, len(wanted) - 1)]]
        cells = (stop + 1 - start) * longer * num_thresholds * num_gt[0].size
        if stop == len(wanted) or cells > _MOST_CELLS:
            yield wanted[start:stop]
            start = stop


class _Joined:
    """The detections of K categories from all videos, by descending score.

    Every category is padded to the length N of the longest with what is neither right nor wrong.

    Args:
        categories: the matches of each.
        limit: the most detections of a category in a video.

    Attributes:
        scores: (K, N).
    """

    def __init__(self, categories: Sequence[Sequence[Matches]], limit: int) -> None:
        groups = [group for of_one in categories for group in of_one]
        lengths = np.array([min(len(group.scores), limit) for group in groups])
        owners = np.repeat(np.arange(len(categories)), [len(of_one) for of_one in categories])
        owners = np.repeat(owners, lengths)
        totals = np.bincount(owners, minlength=len(categories))
        scores = np.concatenate([group.scores[:limit] for group in groups])
        order = np.lexsort((-scores, owners))  # stable; the owners ascend already
        shape = (len(categories), int(totals.max()))
        shift = np.arange(len(categories)) * shape[1] - (totals.cumsum() - totals)
        # Of every detection: where it is in an array of K times N.
        self._places = np.empty_like(order)
        self._places[order] = np.arange(len(order)) + shift[owners]
        self.scores = np.zeros(shape)
        self.scores.ravel()[self._places] = scores
        self._groups = groups
        # Rows ascend, so that those within the limit come first.
        self._kept = [int(np.searchsorted(group.rows, limit)) for group in groups]
        self._limit = limit
        starts = lengths.cumsum() - lengths
        rows = zip(groups, self._kept, starts, strict=True)
        self._rows = self._places[np.concatenate([g.rows[:n] + start for g, n, start in rows])]

    def right_and_wrong(self) -> tuple[Bools, Bools]:
        """True and false positives, (T, A, L, K, N) each."""
        parts = list(zip(self._groups, self._kept, strict=True))
        matched = np.concatenate([g.matched[..., :n] for g, n in parts], axis=-1)
        ignored = np.concatenate([g.ignored[..., :n] for g, n in parts], axis=-1)
        outside = np.concatenate([g.outside[:, : self._limit] for g, _ in parts], axis=-1)
        shape = matched.shape[:-1]
        right = np.zeros((*shape, self.scores.size), bool)
        wrong = np.zeros((*shape, self.scores.size), bool)
        wrong[..., self._places] = ~outside[:, None]
        right[..., self._rows] = matched & ~ignored
        wrong[..., self._rows] = ~matched & ~ignored
        return right.reshape(*shape, *self.scores.shape), wrong.reshape(*shape, *self.scores.shape)


def _fill(
    curves: Curves, batch: Ints, categories: Sequence[Sequence[Matches]], protocol: Protocol
) -> None:
    """Fills in the curves of some categories at all limits.

    Args:
        curves: those of all categories, changed in place.
        batch: indices of the categories.
        categories: the matches of each of them.
        protocol: as it was for `match`.
    """
    cells = np.argwhere(curves.num_gt[batch])
    most = max(len(group.scores) for groups in categories for group in groups)
    limits = protocol.max_dets
    for m in reversed(range(len(limits))):
        if m < len(limits) - 1 and limits[m] >= most:
            # A limit that cuts nothing off has the curves of the limit above.
            for values in (curves.precision, curves.recall, curves.scores):
                values[..., batch, :, :, m] = values[..., batch, :, :, m + 1]
            continue
        joined = _Joined(categories, limits[m])
        right, wrong = joined.right_and_wrong()
        step = max(1, _MOST_CELLS // (len(right) * max(right.shape[-1], 1)))
        for start in range(0, len(cells), step):
            k, a, o = cells[start : start + step].T
            num_gt = curves.num_gt[batch[k], a, o]
            precision, num_right, reached = _curve(
                right[:, a, o, k],
                wrong[:, a, o, k],
                joined.scores[k],
                _needed(num_gt, protocol.recalls),
            )
            curves.precision[:, :, batch[k], a, o, m] = precision.swapaxes(1, 2)
            curves.recall[:, batch[k], a, o, m] = num_right / num_gt
            curves.scores[:, :, batch[k], a, o, m] = reached.swapaxes(1, 2)


def _needed(num_gt: Ints, recalls: Sequence[float]) -> Ints:
    """The fewest true positives with which each recall is reached, (S, R) for (S,) objects."""
    wanted, totals = np.asarray(recalls), num_gt[:, None]
    fewest = np.maximum((wanted * totals).astype(np.int64) - 1, 0)
    for _ in range(3):  # decided by the quotients themselves, as the product is rounded
        fewest += fewest / totals < wanted
    return fewest


def _curve(right: Bools, wrong: Bools, scores: Floats, needed: Ints) -> tuple[Floats, Ints, Floats]:
    """Precision envelope read where the number of true positives first reaches `needed`.

    Args:
        right: (T, S, N) true positives, by descending score.
        wrong: (T, S, N) false positives.
        scores: (S, N).
        needed: (S, R) numbers of true positives.

    Returns:
        Precision (T, S, R), number of true positives (T, S) and score (T, S, R); precision and
        score are 0 where the recall is never reached.
    """
    shape = (*right.shape[:2], needed.shape[1])
    if not scores.shape[1]:
        return np.zeros(shape), np.zeros(shape[:2], np.int64), np.zeros(shape)
    num_right = right.cumsum(axis=-1, dtype=np.float64)
    num_wrong = wrong.cumsum(axis=-1, dtype=np.float64)
    precision = num_right / (num_wrong + num_right + np.spacing(1.0))
    envelope = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    totals = num_right[..., -1].astype(np.int64)
    # Curves are read at true positives, where they reach their values: those of all curves in one
    # list, those of a curve from `first` on.
    hits = np.flatnonzero(right)
    first = (totals.cumsum() - totals.ravel()).reshape(totals.shape)
    wanted = first[..., None] + np.maximum(needed, 1) - 1
    reached = np.maximum(needed, 1) <= totals[..., None]
    q = np.append(envelope[right], 0.0).take(wanted, mode="clip")
    at_scores = np.append(scores.ravel()[hits % scores.size], 0.0).take(wanted, mode="clip")
    q[~reached] = 0.0
    at_scores[~reached] = 0.0
    # No true positive is needed for a recall of 0, so that the best detection reaches it.
    return q, totals, np.where(needed == 0, scores[:, :1], at_scores)
