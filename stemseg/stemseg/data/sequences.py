"""Sequences and images of the annotation files, as training and inference read them.

Reading and checking of the files is `vidseg_common.datasets.stemseg_json`. Source: spec 3.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from stemseg.data.environment import (
    IMAGE_SETS,
    VIDEO_SETS,
    check_images,
    image_set_files,
    video_set_files,
)
from vidseg_common import rle
from vidseg_common.datasets import stemseg_json
from vidseg_common.datasets.annotations import Clip
from vidseg_common.errors import DatasetError
from vidseg_common.packed import PackedList

Counts = Mapping[int, str]
Item = TypeVar("Item")

#: Images of a file that are looked for before a training begins; more take too long from afar.
_MOST_CHECKED = 1000


@dataclass(frozen=True)
class VideoSequence:
    """One annotated video; every method that changes something returns another sequence.

    Attributes:
        id: as in the annotation file.
        image_root: folder that image paths are relative to.
        image_paths: image of every frame.
        image_dims: (height, width).
        categories: class of every instance, by instance id.
        segmentations: per frame the run lengths of the visible instances by id; None in test
            sets.
    """

    id: int | str
    image_root: Path
    image_paths: tuple[str, ...]
    image_dims: tuple[int, int]
    categories: Mapping[int, int]
    segmentations: tuple[Counts, ...] | None

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.image_paths)

    @property
    def instance_ids(self) -> list[int]:
        """Ids of the instances, in the order of the file."""
        return list(self.categories)

    @property
    def category_labels(self) -> list[int]:
        """Class of every instance, in the order of `instance_ids`."""
        return list(self.categories.values())

    def annotations(self) -> tuple[Counts, ...]:
        """Run lengths of the visible instances by id, frame by frame.

        Raises:
            DatasetError: a sequence of a test set.
        """
        if self.segmentations is None:
            raise DatasetError(f"sequence {self.id}: has no segmentations (a test set)")
        return self.segmentations

    def load_images(self, frames: Iterable[int] | None = None) -> list[np.ndarray]:
        """Frames as (H, W, 3) uint8 in the order blue, green, red.

        Args:
            frames: which ones, None for all.

        Raises:
            DatasetError: an image is missing, damaged or of another size; the message names
                sequence, frame and path.
        """
        return [
            read_image(
                self.image_root / self.image_paths[t],
                self.image_dims,
                f"sequence {self.id}, frame {t}",
            )
            for t in self._frames(frames)
        ]

    def load_masks(self, frames: Iterable[int] | None = None) -> list[list[np.ndarray]]:
        """Masks by frame and instance, (H, W) uint8 each; zeros where an instance is not visible.

        Args:
            frames: which ones, None for all.
        """
        segmentations = self.annotations()
        return [
            [self._mask(segmentations[t].get(instance)) for instance in self.categories]
            for t in self._frames(frames)
        ]

    def filter_zero_instance_frames(self) -> VideoSequence:
        """Without the frames in which no instance is visible."""
        kept = [t for t, visible in enumerate(self.annotations()) if visible]
        return self._with_frames(kept)

    def filter_categories(self, category_ids: Collection[int]) -> VideoSequence:
        """With the instances of some classes alone."""
        kept = {i: c for i, c in self.categories.items() if c in category_ids}
        return replace(
            self,
            categories=kept,
            segmentations=tuple(
                {i: counts for i, counts in visible.items() if i in kept}
                for visible in self.annotations()
            ),
        )

    def extract_subsequence(
        self, frame_idxes: Iterable[int], new_id: int | str = ""
    ) -> VideoSequence:
        """Some frames, in ascending order, with the instances that are visible in them.

        Args:
            frame_idxes: numbers of the frames.
            new_id: id of the result, "" for that of this sequence.
        """
        part = self._with_frames(sorted(frame_idxes))
        # Instances come in the order of a set of numbers, which is that of the original's clips.
        seen = {instance for visible in part.annotations() for instance in visible}
        categories = {instance: self.categories[instance] for instance in seen}
        return replace(part, categories=categories, id=self.id if new_id == "" else new_id)

    def _with_frames(self, frames: Sequence[int]) -> VideoSequence:
        segmentations = self.annotations()
        return replace(
            self,
            image_paths=tuple(self.image_paths[t] for t in frames),
            segmentations=tuple(segmentations[t] for t in frames),
        )

    def _frames(self, frames: Iterable[int] | None) -> Iterable[int]:
        return range(len(self)) if frames is None else frames

    def _mask(self, counts: str | None) -> np.ndarray:
        return decode_mask(counts, self.image_dims)


@dataclass(frozen=True)
class ImageRecord:
    """One annotated image.

    Attributes:
        path: relative to the image folder.
        height: rows.
        width: columns.
        categories: class of every instance.
        segmentations: run lengths of every instance.
        ignore: run lengths of the void region, None where there is none.
    """

    path: str
    height: int
    width: int
    categories: tuple[int, ...]
    segmentations: tuple[str, ...]
    ignore: str | None = None

    def mask_areas(self) -> list[int]:
        """Pixels of every instance."""
        return [rle.area({"size": [self.height, self.width], "counts": counts})
                for counts in self.segmentations]  # fmt: skip

    def load_image(self, image_root: Path) -> np.ndarray:
        """The image as (H, W, 3) uint8 in the order blue, green, red.

        Raises:
            DatasetError: it is missing, damaged or of another size.
        """
        return read_image(image_root / self.path, (self.height, self.width), f"image {self.path}")

    def load_masks(self) -> list[np.ndarray]:
        """Mask of every instance, (H, W) uint8."""
        return [decode_mask(counts, (self.height, self.width)) for counts in self.segmentations]

    def load_ignore_mask(self) -> np.ndarray | None:
        """The void region, (H, W) uint8; None where there is none."""
        if self.ignore is None:
            return None
        return decode_mask(self.ignore, (self.height, self.width))


@dataclass(frozen=True)
class VideoFile:
    """What a file of sequences holds, with the names of its classes by id."""

    sequences: list[VideoSequence]
    category_names: dict[int, str]


@dataclass(frozen=True)
class ImageFile:
    """What a file of images holds, with their folder and the names of its classes by id."""

    records: PackedList[ImageRecord]
    image_root: Path
    category_names: dict[int, str]


def read_sequences(path: str | Path, image_roots: Sequence[Path]) -> VideoFile:
    """Reads a file of sequences.

    Args:
        path: the annotation file.
        image_roots: folders that image paths may be relative to; the first one that has the
            first frame is taken, or the first of all.

    Raises:
        DatasetError: the file is not of the format; all problems are listed.
    """
    data = stemseg_json.read(path, kind="video")
    root = image_roots[0]
    if data.videos:
        first = data.videos[0].file_names[0]
        root = next((folder for folder in image_roots if (folder / first).is_file()), root)
    sequences = [_sequence(clip, root, data.has_annotations) for clip in data.clips()]
    return VideoFile(sequences, data.category_names())


def read_image_records(path: str | Path, image_root: Path) -> ImageFile:
    """Reads a file of images.

    Raises:
        DatasetError: the file is not of the format, or has no annotations.
    """
    data = stemseg_json.read(path, kind="image")
    if not data.has_annotations:
        raise DatasetError(f"{path}: the images have no segmentations to train on")
    return ImageFile(PackedList(map(_record, data.clips())), image_root, data.category_names())


def open_video_set(dataset: str, split: str) -> VideoFile:
    """Reads a split of "davis", "ytvis" or "kittimots" from where the environment says.

    Raises:
        ConfigError: a variable is not set.
        DatasetError: a file is missing or not of the format, or its images are missing.
    """
    path, roots = video_set_files(dataset, split)
    file = read_sequences(path, roots)
    some = _some(file.sequences)
    images = [(f"sequence {sequence.id}", sequence.image_paths[0]) for sequence in some]
    if some:
        check_images(path, some[0].image_root, VIDEO_SETS[dataset][1], images)
    return file


def open_image_set(dataset: str) -> ImageFile:
    """Reads "coco", "pascalvoc" or "mapillary" from where the environment says; as above."""
    path, root = image_set_files(dataset)
    file = read_image_records(path, root)
    images = [("images", record.path) for record in _some(file.records)]
    check_images(path, root, IMAGE_SETS[dataset][1], images)
    return file


def _some(items: Sequence[Item]) -> Sequence[Item]:
    """All items, or as many as are checked, from everywhere in the list."""
    return items[:: -(-len(items) // _MOST_CHECKED) or 1]


def decode_mask(counts: str | None, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 of run lengths, zeros for None."""
    if counts is None:
        return np.zeros(size, np.uint8)
    return rle.decode({"size": list(size), "counts": counts}).astype(np.uint8, order="C")


def read_image(path: Path, size: tuple[int, int], where: str) -> np.ndarray:
    """An image file as (H, W, 3) uint8 in the order blue, green, red.

    Args:
        path: the file.
        size: (height, width) that the annotations state.
        where: sequence and frame, for the message.

    Raises:
        DatasetError: the file is missing, damaged or of another size.
    """
    if not path.is_file():
        raise DatasetError(f"{where}: no such image: {path}")
    data = np.fromfile(path, dtype=np.uint8)
    # Annotations are made on the stored pixels, whatever the camera notes about its position.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(data, flags) if len(data) else None
    if image is None:
        raise DatasetError(f"{where}: cannot be read as an image: {path}")
    if image.shape[:2] != size:
        (height, width), found = size, image.shape
        raise DatasetError(
            f"{where}: {path} has {found[1]} x {found[0]} pixels, "
            f"its annotations say {width} x {height}"
        )
    return np.asarray(image, dtype=np.uint8)


def _sequence(clip: Clip, root: Path, has_masks: bool) -> VideoSequence:
    video = clip.video
    segmentations = [
        {
            track.id: mask["counts"]
            for track in clip.tracks
            if (mask := track.segmentations[t]) is not None
        }
        for t in range(video.num_frames)
    ]
    return VideoSequence(
        id=video.extra["id"],
        image_root=root,
        image_paths=video.file_names,
        image_dims=(video.height, video.width),
        categories={track.id: track.category_id for track in clip.tracks},
        segmentations=tuple(segmentations) if has_masks else None,
    )


def _record(clip: Clip) -> ImageRecord:
    masks = [track.segmentations[0] for track in clip.tracks]
    region = clip.ignore[0] if clip.ignore else None
    return ImageRecord(
        path=clip.video.file_names[0],
        height=clip.video.height,
        width=clip.video.width,
        categories=tuple(track.category_id for track in clip.tracks),
        segmentations=tuple(mask["counts"] for mask in masks if mask is not None),
        ignore=None if region is None else region["counts"],
    )
