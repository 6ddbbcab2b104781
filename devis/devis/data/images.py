"""Images of COCO with their instances, for training and for validation (spec 3.1)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from torch.utils.data import Dataset

from devis.data.image_augment import ImageAugmenter
from devis.data.image_sample import ImageSample, image_target, resize
from devis.data.items import ImageItem, TrainSet
from devis.data.opening import (
    MOST_LOOKED_FOR,
    OpenSet,
    check_exist,
    load_image,
    require_annotations,
    with_annotations,
)
from devis.data.resize import normalise
from vidseg_common import rle
from vidseg_common.datasets.annotations import AnnotationSet, Clip, Track
from vidseg_common.errors import DatasetError
from vidseg_common.packed import PackedList


@dataclass(frozen=True)
class ImageRecord:
    """An image with its instances, without groups (crowds).

    Attributes:
        id: its number.
        name: its file, below the folder of images.
        size: height and width.
        labels: classes from 1.
        boxes: corners x, y, x, y in pixels, inside the image.
        counts: compressed run lengths; None where masks are not trained.
        num_annotations: of the file, groups too.
    """

    id: int
    name: str
    size: tuple[int, int]
    labels: tuple[int, ...]
    boxes: tuple[tuple[float, float, float, float], ...]
    counts: tuple[str, ...] | None
    num_annotations: int


class Images:
    """The images of a set, packed so that processes share them.

    Args:
        opened: images with their annotations.
        with_masks: whether instances get masks.
        data: some of the images; None takes all that have annotations.

    Raises:
        DatasetError: an instance has no mask though masks are trained.
    """

    def __init__(
        self, opened: OpenSet, *, with_masks: bool, data: AnnotationSet | None = None
    ) -> None:
        self.file, self.folder = opened.file, opened.images
        chosen = with_annotations(opened.data) if data is None else data
        self.records = PackedList(_records(opened, chosen, with_masks))
        if not self.records:
            raise DatasetError(f"{self.file}: field annotations: no image has one")

    def load(self, index: int) -> tuple[ImageRecord, ImageSample]:
        """Reads an image.

        Raises:
            DatasetError: it is missing, damaged, or of another size.
        """
        record = self.records[index]
        image = load_image(self.folder / record.name, record.size, f"image {record.id}")
        masks = None
        if record.counts is not None:
            masks = np.zeros((len(record.counts), *record.size), np.uint8)
            for place, counts in zip(masks, record.counts, strict=True):
                place[:] = rle.decode({"size": list(record.size), "counts": counts})
        boxes = np.array(record.boxes, np.float32).reshape(-1, 4)
        return record, ImageSample(image, boxes, np.array(record.labels, np.int64), masks)

    def check_exist(self) -> None:
        """Makes sure that the first images exist.

        Raises:
            DatasetError: some do not.
        """
        first = islice(self.records, MOST_LOOKED_FOR)
        check_exist(self.file, self.folder, ((f"image {r.id}", r.name) for r in first))


def _records(opened: OpenSet, data: AnnotationSet, with_masks: bool) -> Iterator[ImageRecord]:
    for clip in data.clips():
        yield _record(opened, clip, with_masks)


def _record(opened: OpenSet, clip: Clip, with_masks: bool) -> ImageRecord:
    video = clip.video
    tracks = [
        (track, box)
        for track in clip.tracks
        if not track.is_crowd and (box := _box(track, video.height, video.width)) is not None
    ]
    return ImageRecord(
        id=video.id,
        name=video.file_names[0],
        size=(video.height, video.width),
        labels=tuple(track.category_id for track, _ in tracks),
        boxes=tuple(box for _, box in tracks),
        counts=tuple(_counts(opened, track) for track, _ in tracks) if with_masks else None,
        num_annotations=len(clip.tracks),
    )


def _box(track: Track, height: int, width: int) -> tuple[float, float, float, float] | None:
    """Corners inside the image; None for a box without area."""
    mask = track.segmentations[0]
    box = track.bboxes[0] if track.bboxes is not None else mask and rle.to_bbox(mask)
    if not box:
        return None
    x, y, w, h = box
    left, right = (min(max(value, 0), width) for value in (x, x + w))
    top, bottom = (min(max(value, 0), height) for value in (y, y + h))
    return (left, top, right, bottom) if right > left and bottom > top else None


def _counts(opened: OpenSet, track: Track) -> str:
    mask = track.segmentations[0]
    if mask is None:
        raise DatasetError(
            f"{opened.file}: annotation {track.id}: field segmentation: missing, but masks are "
            "trained (MODEL.MASK_ON False trains boxes alone)"
        )
    return str(mask["counts"])


class TrainImages(TrainSet[ImageItem]):
    """Training images.

    Args:
        opened: images with their annotations.
        augmenter: random changes.
        with_masks: whether instances get masks.

    Raises:
        DatasetError: there are no annotations, or an instance has no mask.
    """

    def __init__(self, opened: OpenSet, augmenter: ImageAugmenter, *, with_masks: bool) -> None:
        require_annotations(opened)
        self.images, self.augmenter = Images(opened, with_masks=with_masks), augmenter
        self.category_names = opened.data.category_names()
        self.images.check_exist()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images.records)

    def sample(self, index: int, rng: random.Random) -> ImageItem:
        """Makes a sample."""
        record, sample = self.images.load(index)
        return _item(record, self.augmenter.apply(sample, rng))


class ValImages(Dataset[ImageItem]):
    """Validation images at test size, by ascending number.

    Args:
        opened: images, with their annotations where these are public.
        shorter: wanted length of the shorter side.
        longest: largest length of the longer side, which wins.
        with_masks: whether instances get masks.

    Raises:
        DatasetError: an instance has no mask.
    """

    def __init__(self, opened: OpenSet, shorter: int, longest: int, *, with_masks: bool) -> None:
        self.images = Images(opened, with_masks=with_masks)
        self.shorter, self.longest = shorter, longest

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images.records)

    def __getitem__(self, index: int) -> ImageItem:
        """An image.

        Raises:
            DatasetError: it is missing, damaged, or of another size.
        """
        record, sample = self.images.load(index)
        return _item(record, resize(sample, self.shorter, self.longest))


def _item(record: ImageRecord, sample: ImageSample) -> ImageItem:
    image = normalise(sample.image)
    return ImageItem(image, image_target(sample), record.id, record.size)
