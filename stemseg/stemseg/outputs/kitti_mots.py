"""Results of KITTI-MOTS: one text file per sequence. Source: spec section 9.3."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemseg.drawing import Image, annotate_instance, color_of
from stemseg.inference.classes import ClassVotes
from stemseg.inference.engine import VideoTracks
from stemseg.outputs.resize import instance_masks
from vidseg_common import rle
from vidseg_common.datasets.mots_files import IDS_PER_CLASS, MotsObject

FONT_SCALE = 0.25
_LETTERS = {1: "c", 2: "p"}


@dataclass(frozen=True)
class NumberedTrack:
    """One instance of a sequence.

    Attributes:
        label: its label in the maps.
        number: from 1, the shortest-lived first.
        category_id: 1 car, 2 pedestrian.
    """

    label: int
    number: int
    category_id: int


def numbered_tracks(tracks: VideoTracks, max_tracks: int) -> list[NumberedTrack]:
    """The largest instances, numbered by lifetime."""
    assert isinstance(tracks.classes, ClassVotes)
    statistics = tracks.statistics
    kept = statistics.by_pixels(max_tracks)
    kept.sort(key=lambda label: statistics.of_label[label].lifetime)
    return [
        NumberedTrack(
            label, number, tracks.classes.category_of(label, statistics.of_label[label].num_pixels)
        )
        for number, label in enumerate(kept, start=1)
    ]


def masks_of_frame(
    tracks: VideoTracks, numbered: Sequence[NumberedTrack], frame: int
) -> dict[int, NDArray[np.bool_]]:
    """(H, W) masks of the instances of a frame by number; no two of them overlap.

    A pixel of several instances goes to the highest label, that is the latest instance.
    """
    labels = tracks.labels[frame]
    shown = [track for track in numbered if (labels == track.label).any()]
    shown.sort(key=lambda track: -track.label)
    masks = instance_masks(labels, [track.label for track in shown], tracks.geometry)
    taken = np.zeros(tracks.geometry.image, np.bool_)
    found = {}
    for track, mask in zip(shown, masks, strict=True):
        found[track.number] = mask & ~taken
        taken |= mask
    return found


def result_objects(tracks: VideoTracks, numbered: Sequence[NumberedTrack]) -> list[MotsObject]:
    """The lines of a sequence: by instance, then by frame; empty masks are among them."""
    lines: dict[int, list[MotsObject]] = {track.number: [] for track in numbered}
    category = {track.number: track.category_id for track in numbered}
    for frame in range(tracks.num_frames):
        for number, mask in masks_of_frame(tracks, numbered, frame).items():
            kind = category[number]
            track_id = IDS_PER_CLASS * kind + number
            lines[number].append(MotsObject(frame, track_id, kind, rle.encode(mask)))
    return [line for of_track in lines.values() for line in of_track]


def draw_frames(
    tracks: VideoTracks, numbered: Sequence[NumberedTrack], frames: Iterable[Image]
) -> Iterator[Image]:
    """Frames (BGR) with masks, boxes and numbers."""
    letters = {track.number: _LETTERS.get(track.category_id, "") for track in numbered}
    for frame, image in enumerate(frames):
        for number, mask in masks_of_frame(tracks, numbered, frame).items():
            text = f"{number}{letters[number]}"
            image = annotate_instance(image, mask, color_of(number), text, font_scale=FONT_SCALE)
        yield image


def format_lines(objects: Iterable[MotsObject]) -> str:
    """Text of a result file, in the order given."""
    return "".join(
        f"{o.frame} {o.track_id} {o.class_id} {o.rle['size'][0]} {o.rle['size'][1]} "
        f"{o.rle['counts']}\n"
        for o in objects
    )
