"""Results of YouTube-VIS: scored tracks with a class. Source: spec section 9.2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stemseg.drawing import Image, annotate_instance, color_of
from stemseg.inference.classes import ClassScores
from stemseg.inference.engine import VideoTracks
from stemseg.outputs.davis import masks_of_frame
from vidseg_common import rle


@dataclass(frozen=True)
class ScoredTrack:
    """One instance of a video.

    Attributes:
        label: its label in the maps.
        score: pixels relative to the largest kept instance, 0..1.
        category_id: class, from 1.
    """

    label: int
    score: float
    category_id: int


def scored_tracks(tracks: VideoTracks, kept: Sequence[int]) -> list[ScoredTrack]:
    """Score and class of the kept instances, in their order."""
    assert isinstance(tracks.classes, ClassScores)
    pixels = {label: tracks.statistics.of_label[label].num_pixels for label in kept}
    largest = max(pixels.values(), default=1)
    return [
        ScoredTrack(
            label, pixels[label] / largest, tracks.classes.category_of(label, pixels[label])
        )
        for label in kept
    ]


def result_entries(
    tracks: VideoTracks, scored: Sequence[ScoredTrack], video_id: int
) -> list[dict[str, Any]]:
    """What results.json holds about a video: one entry per instance, masks of all frames."""
    empty = rle.encode(np.zeros(tracks.geometry.image, np.bool_))
    kept = [track.label for track in scored]
    masks = [[empty] * tracks.num_frames for _ in scored]
    for frame in range(tracks.num_frames):
        for rank, mask in masks_of_frame(tracks, kept, frame).items():
            masks[rank - 1][frame] = rle.encode(mask)
    return [
        {
            "video_id": video_id,
            "score": track.score,
            "category_id": track.category_id,
            "segmentations": of_track,
        }
        for track, of_track in zip(scored, masks, strict=True)
    ]


def draw_frames(
    tracks: VideoTracks,
    scored: Sequence[ScoredTrack],
    frames: Iterable[Image],
    names: Mapping[int, str],
) -> Iterator[Image]:
    """Frames (BGR) with masks, boxes, and names with scores."""
    kept = [track.label for track in scored]
    for frame, image in enumerate(frames):
        for rank, mask in masks_of_frame(tracks, kept, frame).items():
            track = scored[rank - 1]
            name = names.get(track.category_id, str(track.category_id))
            text = f"{name} {track.score:.2f}"
            image = annotate_instance(image, mask, color_of(rank), text)
        yield image
