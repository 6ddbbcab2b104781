"""Detections and ground truth of one SAIL-VOS video, cut into the groups that are matched.

T thresholds, A area ranges, L occlusion ranges, D detections. Source: spec vatrack section 7.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from vidseg_common import rle
from vidseg_common.datasets.annotations import Track, Video
from vidseg_common.datasets.sailvos_per_video import Masks, box_of, masks_of, stated_area
from vidseg_common.metrics.average_precision import (
    ALL,
    Group,
    Matches,
    Protocol,
    Range,
    match,
    top_order,
)
from vidseg_common.metrics.box_iou import box_iou
from vidseg_common.metrics.clip_pairs import ClipPair
from vidseg_common.metrics.track_iou import decode_tracks, mean_area, track_iou

__all__ = [
    "AREAS",
    "OCCLUSIONS",
    "LimitedMatches",
    "Part",
    "average_area",
    "match_video",
    "occlusion_score",
]

AREAS = (
    ALL,
    Range("small", 0.0, 32.0**2),
    Range("medium", 32.0**2, 96.0**2),
    Range("large", 96.0**2, 1e10),
)
OCCLUSIONS = (
    Range("all", 0.0, 0.75),
    Range("partial", 0.0, 0.25),
    Range("medium", 0.25, 0.5),
    Range("heavy", 0.25, 0.75),
)
"""Ranges of the hidden share; heavy includes medium."""

LimitedMatches = dict[int, tuple[Matches, ...]]
"""For every category the matches of a video at each limit on detections."""


@dataclass(frozen=True)
class Part:
    """One of the evaluations that make up the family.

    Attributes:
        level: "image" compares frame by frame, "video" track by track.
        masks: which masks, and with them which areas, are compared.
        iou: "segm" compares masks, "bbox" the boxes of the file (images only).
    """

    level: Literal["image", "video"]
    masks: Masks
    iou: Literal["segm", "bbox"] = "segm"

    def __str__(self) -> str:
        return f"{self.level}_{self.masks}_{self.iou}"

    @property
    def protocol(self) -> Protocol:
        """Ranges and limits."""
        limits = (100, 300, 1000) if self.level == "image" else (1, 10, 100)
        return Protocol(areas=AREAS, levels=OCCLUSIONS, max_dets=limits)


@dataclass
class _Side:
    """What is to be matched in one group, detections or ground truth."""

    shapes: list[Any] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)


def match_video(pair: ClipPair, part: Part, truth_boxes: Masks = "amodal") -> LimitedMatches:
    """Matches one video.

    Args:
        pair: its ground truth (for "video" without what is hidden too much) and predictions.
        part: what is compared.
        truth_boxes: which boxes the ground truth has for "bbox".
    """
    gt: dict[tuple[int, int], _Side] = defaultdict(_Side)
    dets: dict[tuple[int, int], _Side] = defaultdict(_Side)
    for track in pair.truth.tracks:
        _add_truth(gt, track, part, truth_boxes)
    for track in pair.predictions:
        _add_predicted(dets, track, part)
    found: dict[int, list[Matches]] = defaultdict(list)
    for frame, category in sorted(gt.keys() | dets.keys()):
        key = frame, category
        group = _group(part, dets.get(key, _Side()), gt.get(key, _Side()), pair.truth.video)
        found[category].append(match(group, part.protocol))
    limits = part.protocol.max_dets
    return {category: _at_limits(matches, limits) for category, matches in found.items()}


def _add_truth(
    groups: dict[tuple[int, int], _Side], track: Track, part: Part, truth_boxes: Masks
) -> None:
    if part.level == "video":
        side = groups[0, track.category_id]
        side.shapes.append(masks_of(track, part.masks))
        side.areas.append(average_area(track, part.masks))
        side.levels.append(occlusion_score(track))
        side.crowd.append(track.is_crowd)
        return
    for frame, mask in enumerate(masks_of(track, part.masks)):
        shape = box_of(track, frame, truth_boxes) if part.iou == "bbox" else mask
        if shape is not None:
            side = groups[frame, track.category_id]
            side.shapes.append(shape)
            side.areas.append(stated_area(track, frame, part.masks))
            rate = track.occlude_rates[frame] if track.occlude_rates else None
            side.levels.append(rate or 0.0)
            side.crowd.append(track.is_crowd)


def _add_predicted(groups: dict[tuple[int, int], _Side], track: Track, part: Part) -> None:
    masks = masks_of(track, part.masks)
    if part.level == "video":
        if any(mask is not None for mask in masks):
            side = groups[0, track.category_id]
            side.shapes.append(masks)
            side.scores.append(track.score or 0.0)
            side.areas.append(0.0)  # follows from the masks when they are decoded
        return
    categories = track.extra.get("frame_categories")
    scores = track.extra.get("frame_scores")
    for frame, mask in enumerate(masks):
        if mask is not None:
            box = box_of(track, frame, part.masks)
            assert box is not None
            category = categories[frame] if categories else track.category_id
            side = groups[frame, category]
            side.shapes.append(box if part.iou == "bbox" else mask)
            side.scores.append(scores[frame] if scores else track.score or 0.0)
            # The area of its box decides about a detection, also for masks.
            side.areas.append(box[2] * box[3])


def average_area(track: Track, masks: Masks) -> float:
    """Mean of the areas that the file states, over the frames where there is one; else 0."""
    areas = [stated_area(track, frame, masks) for frame in range(len(track.segmentations))]
    return float(mean_area(np.array(areas)))


def occlusion_score(track: Track) -> float:
    """Mean hidden share of the half of the annotated frames in which it is largest."""
    rates = sorted((r for r in track.occlude_rates or () if r is not None), reverse=True)
    half = rates[: math.ceil(len(rates) / 2)]
    return float(np.mean(half)) if half else 0.0


def _group(part: Part, dets: _Side, gt: _Side, video: Video) -> Group:
    order = top_order(dets.scores, part.protocol.max_dets[-1])
    shapes = [dets.shapes[i] for i in order]
    areas = np.array([dets.areas[i] for i in order], np.float64)
    if part.level == "video":
        found, wanted = (
            decode_tracks(side, video.num_frames, video.height, video.width)
            for side in (shapes, gt.shapes)
        )
        iou = track_iou(found, wanted, at_least=part.protocol.thresholds[0])
        areas = mean_area(found.areas)
    elif part.iou == "bbox":
        iou = box_iou(shapes, gt.shapes, gt.crowd)
    else:
        iou = rle.iou(shapes, gt.shapes, gt.crowd)
    return Group(
        scores=np.array([dets.scores[i] for i in order], np.float64),
        areas=areas,
        gt_areas=np.array(gt.areas, np.float64),
        gt_crowd=np.array(gt.crowd, bool),
        iou=iou,
        gt_levels=np.array(gt.levels, np.float64),
    )


def _at_limits(groups: Sequence[Matches], limits: Sequence[int]) -> tuple[Matches, ...]:
    """Joins the groups of a category, cut at each limit; the same object where nothing is cut.

    Joined groups take far less memory, but no longer tell the rank of a detection in its group.
    """
    most = max(len(group.scores) for group in groups)
    joined: list[Matches] = []
    for limit in reversed(limits):
        if not joined or limit < most:
            joined.append(_join([_cut(group, limit) for group in groups]))
        else:
            joined.append(joined[-1])
    return tuple(reversed(joined))


def _cut(group: Matches, limit: int) -> Matches:
    keep = group.rows < limit
    return Matches(
        scores=group.scores[:limit],
        outside=group.outside[:, :limit],
        rows=group.rows[keep],
        matched=group.matched[..., keep],
        ignored=group.ignored[..., keep],
        num_gt=group.num_gt,
    )


def _join(groups: Sequence[Matches]) -> Matches:
    starts = np.cumsum([0, *(len(group.scores) for group in groups[:-1])])
    rows = [group.rows + start for group, start in zip(groups, starts, strict=True)]
    return Matches(
        scores=np.concatenate([group.scores for group in groups]),
        outside=np.concatenate([group.outside for group in groups], axis=-1),
        rows=np.concatenate(rows),
        matched=np.concatenate([group.matched for group in groups], axis=-1),
        ignored=np.concatenate([group.ignored for group in groups], axis=-1),
        num_gt=np.sum([group.num_gt for group in groups], axis=0),
    )
