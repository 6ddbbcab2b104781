"""Clips made of COCO images, for training on images and videos together (spec 3.4)."""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from devis.data.clip_sample import ClipSample, Floats, Image, Numbers
from devis.data.images import Images
from devis.data.items import ClipItem, TrainSet
from devis.data.opening import OpenSet, require_annotations
from devis.data.video_clips import ClipRules
from vidseg_common.conversion import select_positions
from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.datasets.category_maps import (
    COCO_TO_YOUTUBE_VIS,
    COCO_TO_YOUTUBE_VIS_2021,
    CategoryMap,
)
from vidseg_common.errors import ConfigError
from vidseg_common.frame_augment import Affine, FrameAugmenter, MotionBlur, Photometric, label_map

#: Images with more annotations are left out.
MOST_ANNOTATIONS = 25
#: What makes further frames of an image.
VARIATION = FrameAugmenter(
    Photometric(brightness=40, color=5), 0.08, Affine(rotation=20.0), MotionBlur(0.25)
)
#: What becomes of the classes of COCO, by training set.
CATEGORY_MAPS = {
    "yt_vis_train_19": COCO_TO_YOUTUBE_VIS,
    "mini_train": COCO_TO_YOUTUBE_VIS,
    "yt_vis_train_21": COCO_TO_YOUTUBE_VIS_2021,
    "yt_vis_train_21_wo_2975_2359": COCO_TO_YOUTUBE_VIS_2021,
}


def map_of(name: str) -> CategoryMap:
    """The map of a training set of videos.

    Raises:
        ConfigError: it has none.
    """
    if name not in CATEGORY_MAPS:
        raise ConfigError(
            f"DATASETS.DEVIS.COCO_JOINT_TRAINING: the classes of {name} are not those of COCO; "
            f"possible with {', '.join(CATEGORY_MAPS)}"
        )
    return CATEGORY_MAPS[name]


class ImageClips(TrainSet[ClipItem]):
    """Clips of an image and variations of it, in random order.

    Args:
        opened: images with their annotations.
        rules: how clips are changed; colours are not, as the variations do so.
        categories: what becomes of the classes.

    Raises:
        DatasetError: there are no annotations, or an instance has no mask.
    """

    def __init__(self, opened: OpenSet, rules: ClipRules, categories: CategoryMap) -> None:
        require_annotations(opened)
        self.rules = replace(rules, augmenter=replace(rules.augmenter, distortion=None))
        self.categories = categories
        self.images = Images(opened, with_masks=True, data=_usable(opened.data, categories))
        names = opened.data.category_names()
        self.category_names = {
            target: names[source] for source, target in categories.kept.items() if source in names
        }
        self.images.check_exist()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images.records)

    def sample(self, index: int, rng: random.Random) -> ClipItem:
        """Makes a clip of an image."""
        record, sample = self.images.load(index)
        kept = [self.categories.fate(label) == "kept" for label in record.labels]
        sample = sample.keep(np.array(kept, bool))
        labels = np.array([self.categories.kept[label] for label in sample.labels], np.int64)
        assert sample.masks is not None
        first = sample.image, label_map(list(sample.masks), sample.size)
        frames = [first, *(self._variation(*first, rng) for _ in range(self.rules.num_frames - 1))]
        rng.shuffle(frames)
        return self.rules.item(_clip(frames, labels), record.id, 0, rng)

    @staticmethod
    def _variation(image: Image, numbers: Numbers, rng: random.Random) -> tuple[Image, Numbers]:
        changed, (moved,) = VARIATION.apply(image, [numbers], rng)
        return changed, moved


def _usable(data: AnnotationSet, categories: CategoryMap) -> AnnotationSet:
    """Images with an instance of a class that is trained, and not too many annotations."""
    places = []
    for place in range(len(data.videos)):
        tracks = data.load(place).tracks
        used = any(not t.is_crowd and categories.fate(t.category_id) == "kept" for t in tracks)
        if used and len(tracks) <= MOST_ANNOTATIONS:
            places.append(place)
    return select_positions(data, places)


def _clip(
    frames: Sequence[tuple[Image, Numbers]], labels: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> ClipSample:
    """A clip in which every instance counts as seen in every frame; empty masks tell later."""
    boxes = [[_extent(numbers == i + 1) for i in range(len(labels))] for _, numbers in frames]
    return ClipSample(
        frames=[image for image, _ in frames],
        numbers=[numbers for _, numbers in frames],
        boxes=np.array(boxes, np.float32).reshape(len(frames), len(labels), 4),
        labels=labels,
        valid=np.ones((len(frames), len(labels)), bool),
    )


def _extent(mask: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> Floats:
    """Corners of the box around a mask; zeros where it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    ends = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if len(rows) else [0, 0, 0, 0]
    return np.array(ends, np.float32)


class Joined(TrainSet[ClipItem]):
    """Several sets one after the other; the names of classes are those of the last.

    Args:
        parts: the sets.
    """

    def __init__(self, parts: Sequence[TrainSet[ClipItem]]) -> None:
        self.parts, self.category_names = parts, parts[-1].category_names
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        """Number of samples of all sets."""
        return self._ends[-1]

    def sample(self, index: int, rng: random.Random) -> ClipItem:
        """Makes a sample."""
        place = bisect.bisect_right(self._ends, index)
        part = self.parts[place]
        return part.sample(index - self._ends[place] + len(part), rng)
