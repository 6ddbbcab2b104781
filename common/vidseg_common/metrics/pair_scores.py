"""J and F of every predicted id with every object of a frame, each id prepared once.

Overlaps of all pairs come from one joint histogram of ids. Boundaries are kept as lists of
pixels: those of one side are looked up in the spread boundaries of the other, so that a frame
costs one dilation per id and one look-up per id, not one of each per pair. Counts equal those of
`boundary.count_pair` exactly. Source: spec common sections 4.1, 4.4 and 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidseg_common.masks import VOID
from vidseg_common.metrics.boundary import spread_pixels

_IDS = 256

IdMap = NDArray[np.uint8]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class PairScores:
    """Scores of one frame.

    Attributes:
        objects: G ids of the annotation, ascending.
        proposals: N ids of the prediction, ascending.
        values: (1 + N, 1 + G, 2) J and F; position 0 is the empty mask, which stands for every
            id that the frame does not show.
    """

    objects: tuple[int, ...]
    proposals: tuple[int, ...]
    values: NDArray[np.float64]

    def take(self, proposals: Sequence[int], objects: Sequence[int]) -> NDArray[np.float64]:
        """(N, K, 2) scores of chosen ids, also of such as the frame does not show."""
        rows = [self.proposals.index(n) + 1 if n in self.proposals else 0 for n in proposals]
        columns = [self.objects.index(k) + 1 if k in self.objects else 0 for k in objects]
        return self.values[np.ix_(rows, columns)]


@dataclass(frozen=True)
class _Edges:
    """Boundary pixels of all ids of a map, ordered by id.

    Attributes:
        y: row of every pixel.
        x: its column.
        ids: whose boundary it belongs to; a pixel between two ids occurs twice.
    """

    y: Counts
    x: Counts
    ids: IdMap

    def lengths(self) -> Counts:
        """(256,) number of boundary pixels of every id."""
        return np.bincount(self.ids, minlength=_IDS)


def score_pairs(gt: IdMap, pred: IdMap, radius: int, *, boundaries: bool = True) -> PairScores:
    """Scores all pairs of one frame; void of the annotation is taken out of both sides.

    Args:
        gt: (H, W) uint8 ids, 255 is void: the frame, or a crop with two pixels around all that
            is set wherever it does not touch the border of the frame.
        pred: (H, W) uint8 ids.
        radius: search radius of the full frame.
        boundaries: computes F; otherwise F is NaN.
    """
    void = gt == VOID
    if void.any():
        pred = pred * ~void
    overlap = _overlaps(gt, pred)  # 256, 256
    gt_areas = np.bincount(gt[gt != 0], minlength=_IDS)
    pred_areas = np.bincount(pred[pred != 0], minlength=_IDS)
    # Id 0 is the empty mask: nothing counts for it.
    objects = [0, *(int(k) for k in np.flatnonzero(gt_areas) if k != VOID)]
    proposals = [0, *(int(n) for n in np.flatnonzero(pred_areas))]
    values = np.full((len(proposals), len(objects), 2), np.nan)
    both = overlap[np.ix_(proposals, objects)]
    union = pred_areas[proposals][:, None] + gt_areas[objects][None] - both
    values[..., 0] = np.where(union == 0, 1.0, both / np.maximum(union, 1))
    if boundaries:
        edges = _edges(gt), _edges(pred)
        values[..., 1] = _boundary_scores(*edges, objects, proposals, radius)
    return PairScores(tuple(objects[1:]), tuple(proposals[1:]), values)


def _overlaps(gt: IdMap, pred: IdMap) -> Counts:
    """(256, 256) pixels that have id n in the prediction and id k in the annotation."""
    either = np.flatnonzero((gt != 0) & (pred != 0))
    joint = pred.reshape(-1)[either].astype(np.int64) * _IDS + gt.reshape(-1)[either]
    return np.bincount(joint, minlength=_IDS * _IDS).reshape(_IDS, _IDS)


def _boundary_scores(
    gt: _Edges, pred: _Edges, objects: Sequence[int], proposals: Sequence[int], radius: int
) -> NDArray[np.float64]:
    """(N, K) F of chosen predictions and objects."""
    gt_lengths, pred_lengths = gt.lengths()[objects], pred.lengths()[proposals]
    gt_hits = _hits(pred, gt, radius)[np.ix_(proposals, objects)]
    pred_hits = _hits(gt, pred, radius)[np.ix_(objects, proposals)].T
    precision = pred_hits / np.maximum(pred_lengths, 1)[:, None]
    recall = gt_hits / np.maximum(gt_lengths, 1)[None]
    total = precision + recall
    scores = np.where(total == 0, 0.0, 2 * precision * recall / np.where(total == 0, 1.0, total))
    # Where a boundary is empty there is no hit either, so only two empty ones are left to set.
    scores[(pred_lengths == 0)[:, None] & (gt_lengths == 0)[None]] = 1.0
    return scores


def _edges(ids: IdMap) -> _Edges:
    """Boundary pixels of all ids: those where right, lower or diagonal neighbour differ."""
    height, width = ids.shape
    # The last row and column are repeated, so that nothing differs across the frame's border.
    padded = np.empty((height + 1, width + 1), np.uint8)
    padded[:-1, :-1] = ids
    padded[-1, :-1] = ids[-1]
    padded[:, -1] = padded[:, -2]
    differs = ids != padded[:-1, 1:]
    differs |= ids != padded[1:, :-1]
    differs |= ids != padded[1:, 1:]
    y, x = np.divmod(np.flatnonzero(differs), width)
    flat, corner = padded.reshape(-1), y * (width + 1) + x
    near = np.stack([flat[corner + step] for step in (0, 1, width + 1, width + 2)])  # 4, P
    # Every id among the four has a boundary here; it counts once however often it occurs.
    fresh = near != 0
    for later in range(1, 4):
        for earlier in range(later):
            fresh[later] &= near[later] != near[earlier]
    which, pixel = np.nonzero(fresh)
    found = near[which, pixel]
    order = np.argsort(found, kind="stable")
    return _Edges(y[pixel[order]], x[pixel[order]], found[order])


def _hits(near: _Edges, pixels: _Edges, radius: int) -> Counts:
    """(256, 256) boundary pixels of an id (columns) within the radius of those of another (rows).

    Every id of `near` gets a window of its own around its boundary; all windows lie below each
    other in one picture, which is spread at once.
    """
    hits = np.zeros((_IDS, _IDS), np.int64)
    present = np.unique(near.ids)
    if not len(present) or not len(pixels.ids):
        return hits
    firsts = np.searchsorted(near.ids, present)
    tops = np.minimum.reduceat(near.y, firsts) - radius
    heights = np.maximum.reduceat(near.y, firsts) + radius + 1 - tops
    lefts = np.minimum.reduceat(near.x, firsts) - radius
    widths = np.maximum.reduceat(near.x, firsts) + radius + 1 - lefts
    starts = np.cumsum(heights) - heights  # first row of every window in the picture
    window = np.searchsorted(present, near.ids)
    picture = np.zeros((int(heights.sum()), int(widths.max())), np.bool_)
    picture[near.y - tops[window] + starts[window], near.x - lefts[window]] = True
    reach = spread_pixels(picture, radius)
    for i, object_id in enumerate(present):
        y, x = pixels.y - tops[i], pixels.x - lefts[i]
        inside = np.flatnonzero((y >= 0) & (y < heights[i]) & (x >= 0) & (x < widths[i]))
        hit = inside[reach[y[inside] + starts[i], x[inside]]]
        hits[object_id] = np.bincount(pixels.ids[hit], minlength=_IDS)
    return hits
