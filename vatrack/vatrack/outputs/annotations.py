"""Tracks of a video as annotations, which metrics and writers take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vatrack.inference.results import FrameResult
from vidseg_common.datasets.annotations import Category, Clip, Track, Video
from vidseg_common.rle import RLE


def clip_of(video: Video, frames: Sequence[FrameResult], categories: Sequence[Category]) -> Clip:
    """The tracks of a video in order of their first appearance.

    A track's score is the mean of its frames'. Its class is the most frequent one, of equally
    frequent ones the first (spec 7.2).

    Args:
        video: which one.
        frames: what was found in each of its frames.
        categories: in the order of labels.
    """
    tracks: dict[int, Track] = {}
    for frame_idx, frame in enumerate(frames):
        for row, number in enumerate(frame.ids.tolist()):
            if number not in tracks:
                tracks[number] = _empty_track(number, frame, video.num_frames)
            category = categories[int(frame.labels[row])]
            _fill(tracks[number], frame_idx, frame, row, category)
    for track in tracks.values():
        scores = [score for score in track.extra["frame_scores"] if score is not None]
        found = [number for number in track.extra["frame_categories"] if number is not None]
        track.score, track.category_id = float(np.mean(scores)), max(found, key=found.count)
    return Clip(video, list(tracks.values()))


def _empty_track(number: int, frame: FrameResult, length: int) -> Track:
    """A track that is nowhere yet, with room for the kinds of masks that the model makes."""
    is_visible, is_amodal = frame.visible_masks is not None, frame.amodal_masks is not None
    extra = {"frame_scores": [None] * length, "frame_categories": [None] * length}
    if is_amodal:
        extra["bboxes_amodal"] = [None] * length
    return Track(
        id=number,
        category_id=0,
        segmentations=[None] * length,
        bboxes=[None] * length if is_visible else None,
        amodal=[None] * length if is_amodal else None,
        extra=extra,
    )


def _fill(track: Track, frame_idx: int, frame: FrameResult, row: int, category: Category) -> None:
    track.extra["frame_scores"][frame_idx] = float(frame.scores[row])
    track.extra["frame_categories"][frame_idx] = category.id
    if track.amodal is not None:
        track.amodal[frame_idx] = _row(frame.amodal_masks, row)
        track.extra["bboxes_amodal"][frame_idx] = _box(frame.boxes[row])
    if track.bboxes is not None:
        seen = frame.boxes if frame.visible_boxes is None else frame.visible_boxes
        track.segmentations[frame_idx] = _row(frame.visible_masks, row)
        track.bboxes[frame_idx] = _box(seen[row])


def _row(masks: list[RLE] | None, row: int) -> RLE | None:
    return None if masks is None else masks[row]


def _box(corners: np.ndarray) -> list[float]:
    x1, y1, x2, y2 = (float(value) for value in corners[:4])
    return [x1, y1, x2 - x1, y2 - y1]
