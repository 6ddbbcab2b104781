"""Overlaps of ground truth and predictions, computed once per frame for all metrics of tracking.

Every frame of a sequence gives one IoU matrix over all classes and, for every prediction, the
share of its area inside the ignore region. The sMOTSA family, HOTA, CLEAR and Identity read
nothing else. Letters: G ground-truth objects, P predictions of one frame.
Source: spec common sections 6 and 10.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from vidseg_common.datasets.annotations import Clip
from vidseg_common.datasets.mots_files import IGNORE_CLASS, MotsObject, read_sequence
from vidseg_common.errors import DatasetError, MaskError
from vidseg_common.metrics.sequence_pairs import SequencePair, SequenceSource, check_track_ids
from vidseg_common.rle import RLE
from vidseg_common.rle_batch import any_overlap, canonical

__all__ = [
    "ClassFrame",
    "ClassSequence",
    "FrameObjects",
    "FrameOverlaps",
    "frames_of_clip",
    "frames_of_objects",
    "number_tracks",
    "overlaps_of_frame",
    "overlaps_of_pair",
    "select_class",
]


@dataclass
class FrameObjects:
    """The objects of one frame, one entry per object in every list, in the order of the file.

    Attributes:
        ids: id of the track of each object.
        classes: number of its class.
        masks: its mask.
        ignore: masks of the regions that count for nothing; they may overlap.
    """

    ids: list[int] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    masks: list[RLE] = field(default_factory=list)
    ignore: list[RLE] = field(default_factory=list)


@dataclass(frozen=True)
class FrameOverlaps:
    """How the objects of one frame cover each other.

    Attributes:
        gt_ids: (G,) ids of the ground truth.
        gt_classes: (G,) their classes.
        pred_ids: (P,) ids of the predictions.
        pred_classes: (P,) their classes.
        iou: (G, P) IoU of the masks.
        ignored: (P,) share of each prediction inside the ignore region, 0..1.
    """

    gt_ids: NDArray[np.int64]
    gt_classes: NDArray[np.int64]
    pred_ids: NDArray[np.int64]
    pred_classes: NDArray[np.int64]
    iou: NDArray[np.float64]
    ignored: NDArray[np.float64]


@dataclass(frozen=True)
class ClassFrame:
    """One class in one frame: rows of ids that count from 0, IoU (G, P), ignored shares (P,)."""

    gt: NDArray[np.int64]
    pred: NDArray[np.int64]
    iou: NDArray[np.float64]
    ignored: NDArray[np.float64]


@dataclass(frozen=True)
class ClassSequence:
    """One class in all frames of a sequence; tracks are numbered from 0 without gaps."""

    frames: list[ClassFrame]
    num_gt_tracks: int
    num_pred_tracks: int

    @property
    def num_gt(self) -> int:
        """Ground-truth objects of all frames."""
        return sum(len(frame.gt) for frame in self.frames)

    @property
    def num_pred(self) -> int:
        """Predictions of all frames."""
        return sum(len(frame.pred) for frame in self.frames)


def frames_of_objects(
    objects: Iterable[MotsObject], num_frames: int, *, first_frame: int = 0
) -> list[FrameObjects]:
    """Sorts the objects of a sequence file by frame.

    Args:
        objects: as `read_sequence` returns them.
        num_frames: number of frames; those without objects are empty.
        first_frame: number of the first frame.
    """
    frames = [FrameObjects() for _ in range(num_frames)]
    for found in objects:
        frame = frames[found.frame - first_frame]
        if found.class_id == IGNORE_CLASS:
            frame.ignore.append(found.rle)
        else:
            frame.ids.append(found.track_id)
            frame.classes.append(found.class_id)
            frame.masks.append(found.rle)
    return frames


def frames_of_clip(clip: Clip) -> list[FrameObjects]:
    """Sorts the tracks of a clip by frame; groups of objects (crowds) become ignore regions.

    Raises:
        DatasetError: two tracks of one class and id.
        MaskError: a malformed mask.
    """
    check_track_ids(clip)
    frames = [FrameObjects() for _ in range(clip.video.num_frames)]
    for track in clip.tracks:
        for frame, mask in zip(frames, track.segmentations, strict=True):
            if mask is None:
                continue
            if track.is_crowd:
                frame.ignore.append(mask)
            else:
                frame.ids.append(track.id)
                frame.classes.append(track.category_id)
                frame.masks.append(mask)
    for frame, region in zip(frames, clip.ignore or [None] * len(frames), strict=True):
        if region is not None:
            frame.ignore.append(region)
    _clean(frames)
    return frames


def _clean(frames: Sequence[FrameObjects]) -> None:
    """Makes all masks canonical, in one go."""
    lists = [part for frame in frames for part in (frame.masks, frame.ignore)]
    masks = iter(canonical([mask for part in lists for mask in part]))
    for part in lists:
        part[:] = [next(masks) for _ in part]


def overlaps_of_frame(truth: FrameObjects, predictions: FrameObjects) -> FrameOverlaps:
    """Computes the one IoU matrix of a frame.

    Args:
        truth: ground truth, with canonical masks.
        predictions: predictions, with canonical masks.

    Raises:
        DatasetError: masks of different sizes.
    """
    sizes = {tuple(m["size"]) for m in (*truth.masks, *truth.ignore, *predictions.masks)}
    if len(sizes) > 1:
        raise DatasetError(f"masks of different sizes (H, W): {sorted(sizes)}")
    num_gt, num_pred = len(truth.masks), len(predictions.masks)
    # For a crowd the denominator is the prediction: exactly its share inside the region.
    region = truth.ignore if len(truth.ignore) < 2 else [coco_mask.merge(truth.ignore)]
    shares = np.zeros((num_pred, num_gt + len(region)))
    if shares.size:
        crowd = [False] * num_gt + [True] * len(region)
        shares = np.asarray(coco_mask.iou(predictions.masks, [*truth.masks, *region], crowd))
    return FrameOverlaps(
        gt_ids=np.array(truth.ids, np.int64),
        gt_classes=np.array(truth.classes, np.int64),
        pred_ids=np.array(predictions.ids, np.int64),
        pred_classes=np.array(predictions.classes, np.int64),
        iou=shares[:, :num_gt].T,
        ignored=shares[:, num_gt] if region else np.zeros(num_pred),
    )


def overlaps_of_pair(pair: SequencePair, *, exclusive: bool = False) -> list[FrameOverlaps]:
    """Reads both sides of a sequence and compares them frame by frame.

    Args:
        pair: the sequence.
        exclusive: masks of one frame must not overlap, as sMOTSA needs it. Files of MOTS data
            sets are always held to it.

    Raises:
        DatasetError: files that are not of the form, or masks that overlap or do not fit.
    """
    truth = _frames_of(pair.truth, pair, exclusive)
    predictions = _frames_of(pair.predictions, pair, exclusive)
    overlaps: list[FrameOverlaps] = []
    for frame_idx, (gt, pred) in enumerate(zip(truth, predictions, strict=True)):
        try:
            overlaps.append(overlaps_of_frame(gt, pred))
        except DatasetError as error:
            raise DatasetError(f"sequence {pair.name}, frame {frame_idx}: {error}") from None
    return overlaps


def _frames_of(source: SequenceSource, pair: SequencePair, exclusive: bool) -> list[FrameObjects]:
    if isinstance(source, Path):
        first = pair.first_frame
        objects = read_sequence(source, num_frames=pair.num_frames, first_frame=first)
        return frames_of_objects(objects, pair.num_frames, first_frame=first)
    try:
        frames = frames_of_clip(source)
    except MaskError as error:
        raise DatasetError(f"sequence {pair.name}: {error}") from None
    if exclusive:
        bad = [t for t, frame in enumerate(frames) if any_overlap(frame.masks)]
        if bad:
            raise DatasetError(
                f"sequence {pair.name}: masks overlap in {len(bad)} frame(s), first in frame "
                f"{bad[0]}; this metric needs every pixel to belong to one object"
            )
    return frames


def select_class(overlaps: Iterable[FrameOverlaps], class_id: int) -> ClassSequence:
    """Takes one class out of the overlaps of a sequence and numbers its tracks from 0."""
    frames: list[ClassFrame] = []
    for frame in overlaps:
        rows = np.flatnonzero(frame.gt_classes == class_id)
        columns = np.flatnonzero(frame.pred_classes == class_id)
        iou = frame.iou[rows[:, None], columns]
        part = ClassFrame(frame.gt_ids[rows], frame.pred_ids[columns], iou, frame.ignored[columns])
        frames.append(part)
    return number_tracks(frames)


def number_tracks(frames: Sequence[ClassFrame]) -> ClassSequence:
    """Replaces the ids of tracks by numbers that count from 0 in ascending order of the ids."""
    gt_ids, gt = _numbered([frame.gt for frame in frames])
    pred_ids, pred = _numbered([frame.pred for frame in frames])
    numbered = [
        ClassFrame(g, p, frame.iou, frame.ignored)
        for g, p, frame in zip(gt, pred, frames, strict=True)
    ]
    return ClassSequence(numbered, len(gt_ids), len(pred_ids))


def _numbered(
    rows: Sequence[NDArray[np.int64]],
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """The different ids, and every row as indices into them."""
    if not rows:
        return np.zeros(0, np.int64), []
    ids, places = np.unique(np.concatenate(rows), return_inverse=True)
    return ids, np.split(places, np.cumsum([len(row) for row in rows])[:-1])
