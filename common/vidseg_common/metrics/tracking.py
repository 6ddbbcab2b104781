"""MOTA, IDF1 and their companions on boxes or masks (CLEAR-MOT).

Events are found and counted by motmetrics from distance matrices of our own: 1 - IoU, pairs with
an IoU below 0.5 forbidden. Letters: G ground-truth objects, P predictions of one frame.
Source: spec common section 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from vidseg_common import rle
from vidseg_common.datasets.annotations import AnnotationSet, Clip, Track
from vidseg_common.errors import DatasetError
from vidseg_common.metrics.box_iou import box_iou
from vidseg_common.metrics.mots_tables import json_numbers
from vidseg_common.metrics.sequence_pairs import (
    SequencePair,
    check_track_ids,
    pair_clips,
    score_pairs,
)
from vidseg_common.metrics.tracking_counts import (
    TrackingCounts,
    TrackingFrame,
    average_numbers,
    combine_counts,
    count_events,
    mot_table,
)
from vidseg_common.rle import RLE
from vidseg_common.rle_batch import canonical

__all__ = ["IouType", "TrackingResult", "evaluate"]

IouType = Literal["bbox", "segm"]
_Shape: TypeAlias = "list[float] | RLE"
_HEADLINE = ("mota", "idf1", "motp_iou", "num_switches", "num_misses", "num_false_positives")


@dataclass
class _Objects:
    """Objects of one side of one frame, one entry per object in every list."""

    ids: list[int] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    ignore: list[bool] = field(default_factory=list)
    shapes: list[_Shape] = field(default_factory=list)
    regions: list[_Shape] = field(default_factory=list)


@dataclass(frozen=True)
class TrackingResult:
    """CLEAR-MOT of a set of sequences.

    Attributes:
        counts: counts of every sequence of every class, by the names of both.
        iou_type: "bbox" or "segm".
        compat: MOTP is NaN where any sequence has no detection, as motmetrics has it.
    """

    counts: Mapping[str, Mapping[str, TrackingCounts]]
    iou_type: IouType = "bbox"
    compat: bool = False

    def total(self, class_name: str | None = None) -> TrackingCounts:
        """Counts over all sequences, of one class or of all pooled."""
        names = self.counts if class_name is None else [class_name]
        return combine_counts(part for name in names for part in self.counts[name].values())

    @property
    def overall(self) -> dict[str, float]:
        """All numbers of all classes and sequences pooled."""
        return self.total().numbers(compat=self.compat)

    @property
    def average(self) -> dict[str, float]:
        """Counts summed over classes, ratios averaged over classes, undefined ones as 0."""
        return average_numbers(list(self._class_numbers().values()))

    @property
    def numbers(self) -> dict[str, float]:
        """Headline: pooled over all classes, then each class."""
        overall = self.overall
        return {key: overall[key] for key in _HEADLINE} | {
            f"{name}/{key}": row[key]
            for name, row in self._class_numbers().items()
            for key in _HEADLINE
        }

    def _class_numbers(self) -> dict[str, dict[str, float]]:
        return {name: self.total(name).numbers(compat=self.compat) for name in self.counts}

    def per_class(self) -> list[dict[str, Any]]:
        """All numbers of every class over all sequences."""
        return [{"class": name, **row} for name, row in self._class_numbers().items()]

    def per_video(self) -> list[dict[str, Any]]:
        """All numbers of every sequence and class."""
        return [
            {"video": video, "class": name, **counts.numbers(compat=self.compat)}
            for name, videos in self.counts.items()
            for video, counts in videos.items()
        ]

    def to_json(self) -> dict[str, Any]:
        """Everything at full precision; undefined numbers as null, infinities as "inf"."""
        return {
            "metric": "mot",
            "iou_type": self.iou_type,
            "overall": json_numbers(self.overall),
            "average": json_numbers(self.average),
            "classes": {
                name: {"all": json_numbers(self.total(name).numbers(compat=self.compat))}
                | {v: json_numbers(c.numbers(compat=self.compat)) for v, c in videos.items()}
                for name, videos in self.counts.items()
            },
        }

    def table(self) -> str:
        """One class: a row per sequence; several: a row per class and their average."""
        if len(self.counts) == 1:
            (videos,) = self.counts.values()
            rows = {video: counts.numbers(compat=self.compat) for video, counts in videos.items()}
        else:
            rows = self._class_numbers() | {"AVERAGE": self.average}
        return mot_table(rows | {"OVERALL": self.overall})


def evaluate(
    truth: AnnotationSet,
    predictions: AnnotationSet,
    *,
    iou_type: IouType = "bbox",
    compat: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> TrackingResult:
    """Scores predictions against a data set; videos are paired by name.

    Predictions that match ground truth with `extra["ignore"]`, and unmatched ones that lie mostly
    inside a crowd or the ignore region of the clip, count for nothing, whatever their class.

    Args:
        truth: the data set.
        predictions: its results, with the same videos and numbers of classes.
        iou_type: boxes, those of the file or else of the masks, or masks.
        compat: MOTP is NaN where any sequence has no detection, as motmetrics has it.
        workers: number of processes.
        progress: shows a bar on stderr.

    Raises:
        DatasetError: videos that do not fit, or masks of different sizes.
        MaskError: a malformed mask.
    """
    classes = truth.category_names()
    if not classes:
        raise DatasetError("the ground truth has no classes to score")
    score = partial(_score, class_ids=tuple(classes), iou_type=iou_type)
    found = score_pairs(score, pair_clips(truth, predictions), workers=workers, progress=progress)
    counts = {
        name: {video: parts[class_id] for video, parts in found.items()}
        for class_id, name in classes.items()
    }
    return TrackingResult(counts, iou_type, compat)


def _score(
    pair: SequencePair, class_ids: Sequence[int], iou_type: IouType
) -> dict[int, TrackingCounts]:
    assert isinstance(pair.truth, Clip) and isinstance(pair.predictions, Clip)
    check_track_ids(pair.truth)
    check_track_ids(pair.predictions)
    frames: dict[int, list[TrackingFrame]] = {class_id: [] for class_id in class_ids}
    for frame_idx in range(pair.num_frames):
        truth = _objects_of(pair.truth, frame_idx, iou_type)
        predictions = _objects_of(pair.predictions, frame_idx, iou_type)
        _check_sizes(truth, predictions, f"video {pair.name}, frame {frame_idx}")
        iou = _iou(predictions.shapes, truth.shapes).T
        covered = _covered(predictions.shapes, truth.regions)
        for class_id in class_ids:
            frames[class_id].append(_select(truth, predictions, iou, covered, class_id))
    return {class_id: count_events(part) for class_id, part in frames.items()}


def _objects_of(clip: Clip, frame_idx: int, iou_type: IouType) -> _Objects:
    objects = _Objects()
    for track in clip.tracks:
        shape = _shape_of(track, frame_idx, iou_type)
        if shape is None:
            continue
        if track.is_crowd:
            objects.regions.append(shape)
        else:
            objects.ids.append(track.id)
            objects.classes.append(track.category_id)
            objects.ignore.append(bool(track.extra.get("ignore")))
            objects.shapes.append(shape)
    region = clip.ignore[frame_idx] if clip.ignore else None
    if region is not None:
        objects.regions.append(region)
    objects.shapes, objects.regions = _clean(objects.shapes), _clean(objects.regions)
    return objects


def _clean(shapes: Sequence[_Shape]) -> list[_Shape]:
    """Masks in canonical form, boxes as they are."""
    masks = iter(canonical([shape for shape in shapes if isinstance(shape, dict)]))
    return [next(masks) if isinstance(shape, dict) else shape for shape in shapes]


def _shape_of(track: Track, frame_idx: int, iou_type: IouType) -> _Shape | None:
    mask = track.segmentations[frame_idx]
    if iou_type == "segm":
        return mask
    box = track.bboxes[frame_idx] if track.bboxes else None
    if box is not None or mask is None:
        return box
    return [float(value) for value in coco_mask.toBbox(mask)]


def _check_sizes(truth: _Objects, predictions: _Objects, where: str) -> None:
    shapes = [*truth.shapes, *truth.regions, *predictions.shapes]
    sizes = {tuple(shape["size"]) for shape in shapes if isinstance(shape, dict)}
    if len(sizes) > 1:
        raise DatasetError(f"{where}: masks of different sizes (H, W): {sorted(sizes)}")


def _iou(dets: Sequence[_Shape], gts: Sequence[_Shape], crowd: bool = False) -> NDArray[np.float64]:
    """IoU (D, G) of boxes or masks; with crowd the share of each detection inside the other."""
    if not dets or not gts:
        return np.zeros((len(dets), len(gts)))
    flags = [crowd] * len(gts)
    if isinstance(dets[0], dict):
        return np.asarray(coco_mask.iou(dets, gts, flags))
    return box_iou(dets, gts, flags)  # type: ignore[arg-type]  # all are of the kind of the first


def _covered(shapes: Sequence[_Shape], regions: Sequence[_Shape]) -> NDArray[np.float64]:
    """Share of each prediction inside the ignore region that covers it most."""
    boxes = [region for region in regions if not isinstance(region, dict)]
    masks = [region for region in regions if isinstance(region, dict)]
    covered = np.zeros(len(shapes))
    if shapes and boxes:
        covered = _iou(shapes, boxes, crowd=True).max(axis=1)
    if shapes and masks:
        drawn = _as_masks(shapes, masks[0]["size"])
        region = coco_mask.merge(masks)
        covered = np.maximum(covered, _iou(drawn, [region], crowd=True)[:, 0])
    return covered


def _as_masks(shapes: Sequence[_Shape], size: Sequence[int]) -> Sequence[_Shape]:
    """The shapes as masks, so that boxes can be compared with the region of a clip."""
    if isinstance(shapes[0], dict):
        return shapes
    return rle.from_boxes(np.array(shapes, np.float64), *size)


def _select(
    truth: _Objects,
    predictions: _Objects,
    iou: NDArray[np.float64],
    covered: NDArray[np.float64],
    class_id: int,
) -> TrackingFrame:
    """One class of a frame."""
    rows = np.flatnonzero(np.array(truth.classes, np.int64) == class_id)
    columns = np.flatnonzero(np.array(predictions.classes, np.int64) == class_id)
    return TrackingFrame(
        gt_ids=np.array(truth.ids, np.int64)[rows],
        pred_ids=np.array(predictions.ids, np.int64)[columns],
        iou=iou[rows[:, None], columns],
        gt_ignore=np.array(truth.ignore, np.bool_)[rows],
        covered=covered[columns],
    )
