"""The records into which every annotation format is read, and from which every one is written.

A data set is a list of videos, each with tracks of encoded masks; an image data set is one of
videos of one frame. Nothing decodes a mask before it is used. Source: spec common section 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidseg_common.rle import RLE


@dataclass(frozen=True)
class Category:
    """One class of objects: its number in the file, its name and the group it belongs to."""

    id: int
    name: str
    supercategory: str = ""


@dataclass(frozen=True)
class Video:
    """One video, or one image as a video of a single frame.

    Attributes:
        id: number in the file; formats without numbers count from 1 in the order of names.
        name: name of the video or sequence, and of its folder.
        height: rows of every frame.
        width: columns of every frame.
        file_names: image of each frame, relative to the image root of the data set.
        extra: fields of the source format that no other attribute holds.
    """

    id: int
    name: str
    height: int
    width: int
    file_names: tuple[str, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self.file_names)


@dataclass
class Track:
    """One object of a video, ground truth or prediction; every list has one entry per frame.

    Attributes:
        id: unique within the video; the object id of mask files.
        category_id: number of its class.
        segmentations: visible masks, None where the object is not visible.
        score: confidence of a prediction, None for ground truth.
        is_crowd: marks a group of objects.
        areas: areas that the file states, in pixels, None where they follow from the masks.
        bboxes: boxes [x, y, w, h] that the file states, None where they follow from the masks.
        amodal: whole masks, hidden parts included, None where the format has none.
        occlusion: OVIS level of each frame ("no_occlusion", "slight_occlusion",
            "severe_occlusion"), None where the format has none.
        occlude_rates: hidden share of each frame, 0..1, None where the format has none.
        extra: fields of the source format that no other attribute holds.
    """

    id: int
    category_id: int
    segmentations: list[RLE | None]
    score: float | None = None
    is_crowd: bool = False
    areas: list[float | None] | None = None
    bboxes: list[list[float] | None] | None = None
    amodal: list[RLE | None] | None = None
    occlusion: list[str | None] | None = None
    occlude_rates: list[float | None] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def is_visible(self, frame_idx: int) -> bool:
        """Tells whether the object has a mask in a frame."""
        return self.segmentations[frame_idx] is not None


@dataclass
class Clip:
    """The annotations of one video.

    Attributes:
        video: the video.
        tracks: its objects in the order of the file; masks may overlap.
        ignore: region of each frame that counts for nothing (void, ignore), None where empty.
        labelled: frames that carry annotations, None for all. A frame outside has unknown
            content, it is not empty (validation splits of YouTube-VOS, test splits of DAVIS).
    """

    video: Video
    tracks: list[Track]
    ignore: list[RLE | None] | None = None
    labelled: frozenset[int] | None = None


@dataclass(frozen=True)
class AnnotationSet:
    """A data set or a set of results, whose clips are read one at a time.

    Attributes:
        videos: every video, in the order of the file.
        categories: every class.
        load: reads the annotations of the video at a position of `videos`.
        image_root: folder that `Video.file_names` are relative to, None where unknown.
        has_annotations: False where the file only lists videos (validation and test sets).
        info: what the file says about itself.
    """

    videos: Sequence[Video]
    categories: Sequence[Category]
    load: Callable[[int], Clip]
    image_root: Path | None = None
    has_annotations: bool = True
    info: Mapping[str, Any] = field(default_factory=dict)

    def clips(self) -> Iterator[Clip]:
        """Reads the annotations video by video; at most one is held."""
        return (self.load(position) for position in range(len(self.videos)))

    def image_path(self, video: Video, frame_idx: int) -> Path | None:
        """Where the image of a frame should be, None where the image root is unknown."""
        return None if self.image_root is None else self.image_root / video.file_names[frame_idx]

    def category_names(self) -> dict[int, str]:
        """Names of the classes by number."""
        return {category.id: category.name for category in self.categories}


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a data set or results file.

    Attributes:
        file: the file or folder.
        where: the entry, such as "annotation 12" or "video 3, frame 5"; "" for the whole file.
        field: name of the field, "" where none fits.
        message: what is wrong and what was expected.
    """

    file: Path
    where: str
    field: str
    message: str

    @classmethod
    def of_file(cls, file: Path, error: Exception) -> Problem:
        """Makes a problem of an error about a whole file, whose name is told only once."""
        text = str(error)
        for told in (f": {file}", f" {file}"):
            text = text.replace(told, "", 1)
        text = text.removeprefix(f"{file}: ").removeprefix(f"{file} ")
        return cls(file, "", "", text)

    def __str__(self) -> str:
        place = ", ".join(part for part in (self.where, self.field) if part)
        return f"{self.file}: {place + ': ' if place else ''}{self.message}"


def annotations_of(
    clips: Iterable[Clip],
    categories: Sequence[Category],
    *,
    image_root: Path | None = None,
    info: Mapping[str, Any] | None = None,
) -> AnnotationSet:
    """Makes a data set of clips that are in memory.

    Args:
        clips: all of them, in order.
        categories: their classes.
        image_root: folder of the images.
        info: what the file says about itself.
    """
    held = list(clips)
    return AnnotationSet(
        videos=[clip.video for clip in held],
        categories=categories,
        load=held.__getitem__,
        image_root=image_root,
        info=info or {},
    )
