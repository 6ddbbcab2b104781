"""Average precision of COCO on masks or boxes of images, equal to the official tool.

D detections, G ground truths. Source: spec common section 5.5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vidseg_common import rle
from vidseg_common.datasets.annotations import AnnotationSet, Category, Clip, Track
from vidseg_common.datasets.image_frames import BOX_ONLY
from vidseg_common.errors import DatasetError
from vidseg_common.metrics.ap_result import APResult, VideoMatches, combine
from vidseg_common.metrics.average_precision import (
    ALL,
    Group,
    Protocol,
    Range,
    match,
    top_order,
)
from vidseg_common.metrics.box_iou import box_iou
from vidseg_common.metrics.clip_pairs import ClipPair, left_out, map_pairs
from vidseg_common.metrics.track_iou import TrackMasks, decode_tracks, track_iou
from vidseg_common.metrics.video_ap import summary_lines

__all__ = ["COCO", "evaluate"]

IouType = Literal["segm", "bbox"]
Floats = NDArray[np.float64]

COCO = Protocol(
    areas=(
        ALL,
        Range("small", 0.0, 32.0**2),
        Range("medium", 32.0**2, 96.0**2),
        Range("large", 96.0**2, 1e10),
    )
)
"""Thresholds, ranges and limits."""

_POOLED = Category(-1, "all")
_BOX_ONLY_NOTE = "predictions with a box and no mask, whose box is taken as the mask"


def evaluate(
    truth: AnnotationSet,
    predictions: AnnotationSet,
    *,
    iou_type: IouType = "segm",
    class_agnostic: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> APResult:
    """Scores detections on images, which are videos of one frame.

    Args:
        truth: the ground truth. Areas and boxes are those of the file, where it states them.
        predictions: detections with scores. Equal scores stay in the order of the file; classes
            that the ground truth lacks are left out with a warning.
        iou_type: compares masks or boxes.
        class_agnostic: pools all classes into one (the official `useCats = 0`).
        workers: number of processes.
        progress: show a bar on stderr.

    Raises:
        DatasetError: there is no ground truth, the predictions do not fit it, a video has more
            than one frame, or masks are malformed; all problems are listed.
    """
    known = tuple(sorted(truth.category_names()))
    outcomes = map_pairs(
        partial(_match_image, iou_type=iou_type, known=known, pooled=class_agnostic),
        truth,
        predictions,
        workers=workers,
        progress=progress,
    )
    notes: Counter[str] = sum((noted for _, noted in outcomes), Counter())
    return combine(
        f"coco_{iou_type}",
        COCO,
        summary_lines(COCO),
        [_POOLED] if class_agnostic else truth.categories,
        [image for image, _ in outcomes],
        [f"{note} ({count})" for note, count in sorted(notes.items())],
    )


def _match_image(
    pair: ClipPair, *, iou_type: IouType, known: Sequence[int], pooled: bool
) -> tuple[VideoMatches, Counter[str]]:
    """Matches one image; also counts what was left out or assumed."""
    video = pair.truth.video
    if video.num_frames != 1:
        raise DatasetError(f"has {video.num_frames} frames, but COCO AP compares single images")
    dets = _by_category(pair.predictions, known, pooled)
    for category, tracks in dets.items():
        order = top_order([track.score or 0.0 for track in tracks], COCO.max_dets[-1])
        dets[category] = [tracks[index] for index in order]
    gts = _by_category(pair.truth.tracks, known, pooled)
    found = _side(dets, pair.truth, iou_type, "prediction")
    wanted = _side(gts, pair.truth, iou_type, "annotation")
    groups = {
        category: match(_group(found, wanted, category), COCO)
        for category in sorted(dets.keys() | gts.keys())
    }
    notes = left_out(pair.predictions, known)
    if iou_type == "segm":
        notes += Counter({_BOX_ONLY_NOTE: sum(BOX_ONLY in t.extra for t in pair.predictions)})
    return VideoMatches(video.id, video.name, groups), notes


def _by_category(
    tracks: Sequence[Track], known: Sequence[int], pooled: bool
) -> dict[int, list[Track]]:
    """Objects of the known classes in the order of the file; pooled ones class after class."""
    groups: dict[int, list[Track]] = {}
    for track in tracks:
        groups.setdefault(track.category_id, []).append(track)
    if not pooled:
        return {category: groups[category] for category in known if category in groups}
    return {_POOLED.id: [track for category in known for track in groups.get(category, ())]}


@dataclass(frozen=True)
class _Side:
    """Detections or ground truth of one image, K of them, class after class.

    Attributes:
        places: where the objects of a class are.
        shapes: the masks, or boxes (K, 4).
        areas: (K,) areas that decide about the ranges.
        scores: (K,) scores of detections, 0 for ground truth.
        crowd: (K,) marks of groups.
    """

    places: Mapping[int, slice]
    shapes: TrackMasks | Floats
    areas: Floats
    scores: Floats
    crowd: NDArray[np.bool_]

    def select(self, category: int) -> _Side:
        """The objects of one class."""
        place = self.places.get(category, slice(0, 0))
        indices = np.arange(len(self.areas))[place]
        shapes = self.shapes
        shapes = shapes.select(indices) if isinstance(shapes, TrackMasks) else shapes[indices]
        return _Side({}, shapes, self.areas[place], self.scores[place], self.crowd[place])


def _side(groups: Mapping[int, Sequence[Track]], clip: Clip, iou_type: IouType, kind: str) -> _Side:
    """Decodes all objects of an image at once.

    Args:
        groups: the objects by class.
        clip: the image.
        iou_type: what of them is compared.
        kind: what messages call them.
    """
    tracks = [track for group in groups.values() for track in group]
    stops = np.cumsum([len(group) for group in groups.values()]).tolist()
    places = zip(groups, [0, *stops], stops, strict=False)
    shapes: TrackMasks | Floats
    if iou_type == "segm":
        names = [f"{kind} {track.id}" for track in tracks]
        masks = [track.segmentations for track in tracks]
        shapes = decode_tracks(masks, 1, clip.video.height, clip.video.width, names)
        areas = shapes.areas[:, 0].astype(np.float64)
    else:
        shapes = np.array([_box(track) for track in tracks], np.float64).reshape(-1, 4)
        areas = shapes[:, 2] * shapes[:, 3]
    if kind == "annotation":
        for index, track in enumerate(tracks):
            stated = track.areas[0] if track.areas else None
            areas[index] = areas[index] if stated is None else stated
    return _Side(
        {category: slice(start, stop) for category, start, stop in places},
        shapes,
        areas,
        np.array([track.score or 0.0 for track in tracks], np.float64),
        np.array([track.is_crowd for track in tracks], bool),
    )


def _box(track: Track) -> list[float]:
    box = track.bboxes[0] if track.bboxes else None
    mask = track.segmentations[0]
    if box is None:
        return [0.0] * 4 if mask is None else rle.to_bbox(mask)
    return box


def _group(found: _Side, wanted: _Side, category: int) -> Group:
    dets, gts = found.select(category), wanted.select(category)
    if isinstance(dets.shapes, TrackMasks) and isinstance(gts.shapes, TrackMasks):
        least = min(COCO.thresholds)
        iou = track_iou(dets.shapes, gts.shapes, at_least=least, crowd=gts.crowd)
    else:
        assert isinstance(dets.shapes, np.ndarray) and isinstance(gts.shapes, np.ndarray)
        iou = box_iou(dets.shapes, gts.shapes, gts.crowd)
    return Group(dets.scores, dets.areas, gts.areas, gts.crowd, iou)
