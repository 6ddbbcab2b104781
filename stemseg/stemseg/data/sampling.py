"""Clips drawn from sequences, and sequences made of what is annotated. Source: spec 7.3."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stemseg.data.sequences import VideoSequence
from vidseg_common.datasets.stemseg_write import IGNORE_CATEGORY
from vidseg_common.errors import ConfigError, DatasetError

#: A sequence of KITTI-MOTS ends at this many frames in a row without objects.
_LONGEST_GAP = 6


@dataclass(frozen=True)
class ClipRef:
    """The frames of one clip: number of its sequence, frame indices in ascending order."""

    sequence: int
    frames: tuple[int, ...]


@dataclass(frozen=True)
class ClipLength:
    """How long clips are.

    Attributes:
        num_frames: frames of a clip.
        gap_lower: smallest distance of its first and last frame.
        gap_upper: largest distance.
    """

    num_frames: int
    gap_lower: int
    gap_upper: int

    def __post_init__(self) -> None:
        if self.gap_upper < self.gap_lower:
            raise ConfigError(
                f"FRAME_GAP_UPPER is {self.gap_upper}, but FRAME_GAP_LOWER {self.gap_lower}"
            )
        if self.gap_lower < self.num_frames - 1:
            raise ConfigError(
                f"FRAME_GAP_LOWER is {self.gap_lower}: clips of INPUT.NUM_FRAMES = "
                f"{self.num_frames} different frames span at least {self.num_frames - 1}"
            )


def draw_clips(
    lengths: Sequence[int], num_clips: int, length: ClipLength, rng: random.Random
) -> list[ClipRef]:
    """Draws clips from sequences, in proportion to their numbers of frames.

    The order of the draws is that of the original, whose clips the same seed reproduces.

    Args:
        lengths: frames of every sequence; those of up to `gap_lower` + 1 frames are not used.
        num_clips: how many clips.
        length: frames and span of a clip.
        rng: source of the draws.

    Raises:
        DatasetError: no sequence is long enough.
    """
    usable = [i for i, frames in enumerate(lengths) if frames > length.gap_lower + 1]
    if not usable:
        raise DatasetError(
            f"none of the {len(lengths)} sequences has the {length.gap_lower + 2} annotated "
            f"frames that clips need (the longest has {max(lengths, default=0)}); "
            "a smaller FRAME_GAP_LOWER admits shorter ones"
        )
    total = sum(lengths[i] for i in usable)
    clips: list[ClipRef] = []
    for i in usable:
        share = max(1, math.ceil(lengths[i] / total * num_clips))
        clips += [ClipRef(i, _draw_frames(lengths[i], length, rng)) for _ in range(share)]
    clips = rng.sample(clips, num_clips)
    rng.shuffle(clips)
    return clips


def _draw_frames(num_frames: int, length: ClipLength, rng: random.Random) -> tuple[int, ...]:
    span = min(rng.choice(range(length.gap_lower, length.gap_upper + 1)), num_frames - 1)
    last_start = num_frames - span - 1
    start = rng.randint(0, last_start) if last_start else 0
    frames = np.linspace(start, start + span, length.num_frames).round().astype(int).tolist()
    assert len(set(frames)) == length.num_frames
    return tuple(frames)


def annotated_sequences(sequences: Sequence[VideoSequence]) -> list[VideoSequence]:
    """The sequences without the frames in which nothing is annotated (DAVIS, YouTube-VIS)."""
    return [sequence.filter_zero_instance_frames() for sequence in sequences]


def sequences_with_objects(sequences: Sequence[VideoSequence]) -> list[VideoSequence]:
    """Cuts sequences of KITTI-MOTS where long no object is visible.

    Frames without objects, the ignore region not counting as one, are left out; at the sixth in
    a row a sequence ends. The parts are called ID_1, ID_2, ...
    """
    parts = []
    for sequence in sequences:
        for number, frames in enumerate(_runs(_frames_with_objects(sequence)), start=1):
            parts.append(sequence.extract_subsequence(frames, f"{sequence.id}_{number}"))
    return parts


def _frames_with_objects(sequence: VideoSequence) -> list[bool]:
    objects = {i for i, c in sequence.categories.items() if c != IGNORE_CATEGORY}
    return [not objects.isdisjoint(visible) for visible in sequence.annotations()]


def _runs(has_objects: Sequence[bool]) -> list[list[int]]:
    """The frames with objects, divided at gaps of six frames or more."""
    runs: list[list[int]] = []
    gap = _LONGEST_GAP
    for t, is_kept in enumerate(has_objects):
        if not is_kept:
            gap += 1
            continue
        if gap >= _LONGEST_GAP:
            runs.append([])
        runs[-1].append(t)
        gap = 0
    return runs
