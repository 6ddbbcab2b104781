"""Detections before tracking, as annotations that the image-level metric takes.

"Only the detector": track k of a video is its detection number k of every frame, whatever that
is; nothing but the frames are scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vatrack.outputs.result_pickle import boxes_by_class, masks_by_class, read_detections
from vatrack.outputs.store import Masks, ResultStore
from vidseg_common import rle
from vidseg_common.datasets.annotations import AnnotationSet, Clip, Track, Video
from vidseg_common.datasets.spool import Spool
from vidseg_common.errors import DatasetError, MaskError


class RawDetections(NamedTuple):
    """Detections of a data set.

    Attributes:
        results: one kind of masks; placeholders where there are none.
        has_masks: whether masks can be scored.
    """

    results: AnnotationSet
    has_masks: bool


def stored_detections(store: ResultStore) -> RawDetections:
    """The detections of results that were just made."""
    count = len(store.categories)
    frames = ((boxes_by_class(f, count), masks_by_class(f, count)) for f in store.all_frames())
    return collect(frames, store.annotations(), store.masks, "results")


def read_raw_detections(path: str | Path, truth: AnnotationSet, masks: Masks) -> RawDetections:
    """The detections of a pickled result file.

    Args:
        path: the .pkl file.
        truth: the data set they are of.
        masks: which the model makes.

    Raises:
        DatasetError: they do not fit the data set.
    """
    return collect(read_detections(path), truth, masks, str(path))


def collect(
    frames: Iterable[tuple[Sequence[Any], Sequence[Any] | None]],
    data: AnnotationSet,
    masks: Masks,
    source: str,
) -> RawDetections:
    """Detections by class of all frames as tracks.

    Args:
        frames: (k, 5) boxes of every class, and masks of every class where there are any.
        data: videos and categories.
        masks: what the masks are; the boxes of joint models are amodal ones.
        source: for messages.

    Raises:
        DatasetError: there are more or fewer frames or classes than in the data set.
    """
    remaining = iter(frames)
    categories = [category.id for category in data.categories]
    spool, has_masks = Spool(), False
    for video in data.videos:
        rows = [_rows(frame, categories, source) for frame in islice(remaining, video.num_frames)]
        if len(rows) < video.num_frames:
            raise DatasetError(f"{source}: bbox_result: ends in video {video.id} ({video.name})")
        has_masks |= any(row[3] is not None for frame in rows for row in frame)
        spool.append(rows)
    if next(remaining, None) is not None:
        raise DatasetError(f"{source}: bbox_result: has more frames than the data set")
    kind = "visible" if masks == "visible" else "amodal"

    def load(position: int) -> Clip:
        return Clip(data.videos[position], _tracks(data.videos[position], spool[position], kind))

    results = AnnotationSet(data.videos, data.categories, load, info={"masks": kind})
    return RawDetections(results, has_masks and masks != "joint")


def _rows(
    frame: tuple[Sequence[Any], Sequence[Any] | None], categories: Sequence[int], source: str
) -> list[list[Any]]:
    """Score, category, box [x, y, w, h] and mask of every detection, the best first."""
    by_class, masks = frame
    if len(by_class) != len(categories):
        raise DatasetError(
            f"{source}: bbox_result: {len(by_class)} classes, the data set has {len(categories)}"
        )
    rows: list[list[Any]] = []
    for label, boxes in enumerate(by_class):
        array = np.asarray(boxes, np.float64)
        if array.size and (array.ndim != 2 or array.shape[1] != 5):
            raise DatasetError(f"{source}: bbox_result: expected (n, 5), found {array.shape}")
        own = masks[label] if masks is not None and len(masks) == len(by_class) else []
        known = own if len(own) == len(array) else [None] * len(array)
        for (x1, y1, x2, y2, score), mask in zip(array.reshape(-1, 5).tolist(), known, strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            rows.append([score, categories[label], box, _mask(mask, source)])
    return sorted(rows, key=lambda row: -row[0])


def _mask(mask: Any, source: str) -> Any:
    if mask is None:
        return None
    if isinstance(mask, np.ndarray):
        return dict(rle.encode(mask))
    try:
        text = rle.counts_to_string(rle.counts_of(mask))
    except MaskError as error:
        raise DatasetError(f"{source}: segm_result: {error}") from None
    return {"size": [int(side) for side in mask["size"]], "counts": text}


def _tracks(video: Video, frames: Sequence[Sequence[Any]], kind: str) -> list[Track]:
    most = max((len(frame) for frame in frames), default=0)
    return [_track(video, list(_at(frames, rank)), rank, kind) for rank in range(most)]


def _at(frames: Sequence[Sequence[Any]], rank: int) -> Iterator[Any]:
    return (frame[rank] if rank < len(frame) else None for frame in frames)


def _track(video: Video, rows: list[Any], rank: int, kind: str) -> Track:
    nothing = rle.RLE(size=[video.height, video.width], counts="")
    scores = [row and row[0] for row in rows]
    found: list[Any] = [row and (row[3] or nothing) for row in rows]
    boxes = [row and row[2] for row in rows]
    is_visible = kind == "visible"
    extra = {"frame_scores": scores, "frame_categories": [row and row[1] for row in rows]}
    if not is_visible:
        extra["bboxes_amodal"] = boxes
    return Track(
        id=rank,
        category_id=next(row[1] for row in rows if row),
        segmentations=found if is_visible else [None] * len(rows),
        score=float(np.mean([score for score in scores if score is not None])),
        bboxes=boxes if is_visible else None,
        amodal=None if is_visible else found,
        extra=extra,
    )
