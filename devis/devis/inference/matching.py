"""Costs of continuing a track of the video with one of the next clip (spec 8.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from devis.config_tree import ClipTracking
from devis.inference.clip_masks import MaskOf, binary_overlap, soft_overlap

Array = NDArray[np.float64]
#: Smallest union that is divided by; nothing overlaps nothing by 0.
SMALLEST_UNION = 1e-6


class Seen(NamedTuple):
    """An instance in one frame.

    Attributes:
        score: in 0 to 1.
        label: from 1.
        center: of the box, x and y in 0 to 1.
        box: corners x, y, x, y in pixels of the video.
        mask: the masks of the frame and the number of this one.
    """

    score: float
    label: int
    center: list[float]
    box: list[float]
    mask: MaskOf


#: One instance in the frames of an overlap.
Window = Sequence[Seen]


def cost_matrix(old: Sequence[Window], new: Sequence[Window], settings: ClipTracking) -> Array:
    """The cost of every pair; the lower, the likelier it is the same instance.

    Args:
        old: tracks of the video in the frames of the overlap.
        new: tracks of the clip in the same frames.
        settings: weights of the terms; one that weighs 0 is not computed.

    Returns:
        (tracks of the video, tracks of the clip).
    """
    cost = np.zeros((len(old), len(new)))
    if settings.MASK_COST:
        cost -= settings.MASK_COST * mask_overlap(old, new, settings)
    if settings.CLASS_COST:
        labels = [np.array([[seen.label for seen in w] for w in side]) for side in (old, new)]
        cost -= settings.CLASS_COST * (labels[0][:, None] == labels[1]).mean(-1)
    if settings.SCORE_COST:
        scores = [np.array([[seen.score for seen in w] for w in side]) for side in (old, new)]
        cost += settings.SCORE_COST * np.abs(scores[0][:, None] - scores[1]).mean(-1)
    if settings.CENTER_COST:
        centers = [np.array([[seen.center for seen in w] for w in side]) for side in (old, new)]
        cost += settings.CENTER_COST * np.abs(centers[0][:, None] - centers[1]).mean((-2, -1))
    return cost


def mask_overlap(old: Sequence[Window], new: Sequence[Window], settings: ClipTracking) -> Array:
    """Intersection over union of the masks of all pairs, over the volume or frame by frame."""
    measure = binary_overlap if settings.USE_BINARY_MASK_IOU else soft_overlap
    common, union = [], []
    for rows, columns in zip(zip(*old, strict=True), zip(*new, strict=True), strict=True):
        (a, row_of), (b, column_of) = _distinct(rows), _distinct(columns)
        pair = np.ix_(row_of, column_of)
        both, either = measure(a, b)
        common.append(both[pair])
        union.append(either[pair])
    if settings.USE_FRAME_AVERAGE_IOU:
        return (np.array(common) / np.maximum(union, SMALLEST_UNION)).mean(0)
    return np.sum(common, axis=0) / np.maximum(np.sum(union, axis=0), SMALLEST_UNION)


def _distinct(frame: Sequence[Seen]) -> tuple[list[MaskOf], list[int]]:
    """The masks of a frame without repetitions, and the place of everyone's mask among them."""
    places: dict[tuple[int, int], int] = {}
    masks: list[MaskOf] = []
    for seen in frame:
        key = id(seen.mask[0]), seen.mask[1]
        if key not in places:
            places[key] = len(masks)
            masks.append(seen.mask)
    return masks, [places[id(seen.mask[0]), seen.mask[1]] for seen in frame]
