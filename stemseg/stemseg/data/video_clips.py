"""Training clips of DAVIS, YouTube-VIS and KITTI-MOTS. Source: spec 7.3."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Literal

import numpy as np

from stemseg.data.augment import video_augmenter
from stemseg.data.clip_arrays import ClipLabels, FrameArrays, make_sample
from stemseg.data.duplicate import duplicate_instance
from stemseg.data.samples import ClipSample, ClipSet
from stemseg.data.sampling import (
    ClipLength,
    ClipRef,
    annotated_sequences,
    draw_clips,
    sequences_with_objects,
)
from stemseg.data.sequences import VideoSequence
from stemseg.inference.preprocess import InputRule
from vidseg_common.datasets.stemseg_write import IGNORE_CATEGORY
from vidseg_common.errors import DatasetError

Ignore = Literal["nothing", "background", "category"]

#: Class of everything where classes do not count.
AGNOSTIC_CATEGORY = 1


@dataclass(frozen=True)
class VideoRules:
    """How the clips of one data set differ from those of another.

    Attributes:
        name: of the data set.
        ignore: what becomes the ignore region: nothing, everything outside the instances
            (where not all objects are labelled), or the instances of class 3.
        is_agnostic: every instance is of class 1.
        duplicates: a single instance gets a copy of itself.
        augments: random mirroring, change of frames and reversal; no published stage does so.
    """

    name: str
    ignore: Ignore = "nothing"
    is_agnostic: bool = False
    duplicates: bool = False
    augments: bool = False

    def usable(self, sequences: Sequence[VideoSequence]) -> list[VideoSequence]:
        """The annotated parts of sequences."""
        cut = self.ignore == "category"
        return sequences_with_objects(sequences) if cut else annotated_sequences(sequences)


def davis_rules(*, augments: bool = False) -> VideoRules:
    """The rules of DAVIS, where many objects have no label."""
    return VideoRules("davis", "background", is_agnostic=True, duplicates=True, augments=augments)


def youtube_vis_rules(
    *, is_agnostic: bool = False, duplicates: bool = True, augments: bool = False
) -> VideoRules:
    """The rules of YouTube-VIS; class agnostic in trainings for DAVIS."""
    return VideoRules("ytvis", "nothing", is_agnostic, duplicates, augments)


def kitti_mots_rules(*, augments: bool = False) -> VideoRules:
    """The rules of KITTI-MOTS, whose ignore region is an instance of class 3."""
    return VideoRules("kittimots", "category", augments=augments)


class VideoClips(ClipSet):
    """Clips drawn once, at the start, from the sequences of a data set.

    Args:
        sequences: what clips are drawn from.
        num_clips: how many clips.
        length: their frames and span.
        rules: what is particular to the data set.
        pixels: size and normalisation of frames.
        rng: source of the draws of clips.
        category_names: names of the classes.

    Raises:
        DatasetError: no sequence is long enough.
    """

    def __init__(
        self,
        sequences: Sequence[VideoSequence],
        num_clips: int,
        length: ClipLength,
        rules: VideoRules,
        pixels: InputRule,
        rng: random.Random,
        category_names: dict[int, str] | None = None,
    ) -> None:
        self.name = rules.name
        self.sequences = sequences
        self.rules = rules
        self.pixels = pixels
        self.category_names = dict(category_names or {})
        try:
            self.clips = draw_clips([len(s) for s in sequences], num_clips, length, rng)
        except DatasetError as error:
            raise DatasetError(f"{rules.name}: {error}") from None

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.clips)

    def clip(self, index: int) -> VideoSequence:
        """The frames of a clip, with the instances visible in them."""
        ref: ClipRef = self.clips[index]
        return self.sequences[ref.sequence].extract_subsequence(ref.frames)

    def sample(self, index: int, rng: random.Random) -> ClipSample:
        """Makes the sample of a clip."""
        return clip_sample(self.clip(index), self.rules, self.pixels, rng)


def clip_sample(
    clip: VideoSequence, rules: VideoRules, pixels: InputRule, rng: random.Random
) -> ClipSample:
    """Makes a sample of all frames of a short sequence.

    Args:
        clip: the frames, with the instances visible in them.
        rules: what is particular to the data set.
        pixels: size and normalisation of frames.
        rng: source of the draws.

    Raises:
        DatasetError: an image cannot be used, or no instance is visible.
    """
    images, masks, categories = clip.load_images(), clip.load_masks(), clip.category_labels
    ignored = [np.zeros(clip.image_dims, np.uint8)] * len(clip)
    if rules.ignore == "category":
        masks, categories, ignored = _split_ignored(masks, categories, ignored)
    if not categories:
        raise DatasetError(f"{rules.name}, sequence {clip.id}: no instance in a training clip")
    if rules.is_agnostic:
        categories = [AGNOSTIC_CATEGORY] * len(categories)
    if rules.duplicates and len(categories) == 1:
        images, masks, categories = _with_copy(images, masks, categories, rng)
    if rules.ignore == "background":
        ignored = [1 - np.bitwise_or.reduce(visible) for visible in masks]
    frames = [FrameArrays(*parts) for parts in zip(images, masks, ignored, strict=True)]
    if rules.augments:
        frames = _augmented(frames, rng)
    return make_sample(frames, ClipLabels(str(clip.id), categories), pixels)


def _split_ignored(
    masks: list[list[np.ndarray]], categories: list[int], ignored: list[np.ndarray]
) -> tuple[list[list[np.ndarray]], list[int], list[np.ndarray]]:
    """Takes the instances of class 3 out and makes the ignore region of them."""
    is_ignored = [category == IGNORE_CATEGORY for category in categories]
    is_object = [not flag for flag in is_ignored]
    regions = [
        np.bitwise_or.reduce([region, *compress(visible, is_ignored)])
        for visible, region in zip(masks, ignored, strict=True)
    ]
    objects = [list(compress(visible, is_object)) for visible in masks]
    return objects, [c for c in categories if c != IGNORE_CATEGORY], regions


def _with_copy(
    images: list[np.ndarray],
    masks: list[list[np.ndarray]],
    categories: list[int],
    rng: random.Random,
) -> tuple[list[np.ndarray], list[list[np.ndarray]], list[int]]:
    """Duplicates the only instance where there is room; the copy has the same class."""
    pasted = duplicate_instance(images, [visible[0] for visible in masks], rng)
    if pasted is None:
        return images, masks, categories
    pairs = [list(pair) for pair in zip(pasted.original, pasted.copy, strict=True)]
    return pasted.images, pairs, categories * 2


def _augmented(frames: list[FrameArrays], rng: random.Random) -> list[FrameArrays]:
    """Mirrors the clip, changes each frame and turns time round, at random."""
    if rng.random() < 0.5:
        frames = [frame.flipped() for frame in frames]
    augmenter = video_augmenter(len(frames))
    frames = [frame.augmented(augmenter, rng).blanked() for frame in frames]
    # Black stays black: it is part of the picture from here on, not the mean colour.
    frames = [FrameArrays(frame.image, frame.masks, frame.ignore) for frame in frames]
    return frames[::-1] if rng.random() < 0.5 else frames
