"""What was found in every frame of a data set, set aside on disk.

Letters: n tracks, m detections of a frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vatrack.inference.results import FrameResult
from vatrack.outputs.annotations import clip_of
from vidseg_common.datasets.annotations import AnnotationSet, Category, Clip, Video
from vidseg_common.datasets.spool import Spool
from vidseg_common.rle import RLE

Masks = Literal["visible", "amodal", "joint"]
#: A frame in plain values, as processes hand it over.
PlainFrame = list[Any]

_ARRAYS = {
    "ids": np.int64,
    "labels": np.int64,
    "boxes": np.float32,
    "visible_boxes": np.float32,
    "det_boxes": np.float32,
    "det_labels": np.int64,
    "det_visible_boxes": np.float32,
}
_MASKS = ("visible_masks", "amodal_masks", "det_masks")


class ResultStore:
    """Results of the videos of a data set, in memory for one video at a time.

    Args:
        videos: of the data set, in its order.
        categories: in the order of labels.
        masks: which masks the model makes.
    """

    def __init__(self, videos: Sequence[Video], categories: Sequence[Category], masks: Masks):
        self.videos, self.categories, self.masks = videos, categories, masks
        self._spool = Spool()
        self._places: dict[int, int] = {}

    def add(self, position: int, frames: Sequence[PlainFrame]) -> None:
        """Adds the frames of the video at a position, see `to_plain`."""
        self._places[position] = self._spool.append(list(frames))

    def frames(self, position: int) -> list[FrameResult]:
        """What was found in the frames of a video."""
        return [from_plain(frame) for frame in self.plain(position)]

    def plain(self, position: int) -> list[PlainFrame]:
        """The same in plain values."""
        return list(self._spool[self._places[position]])

    def all_frames(self) -> Iterator[FrameResult]:
        """Frame by frame, video by video."""
        return (frame for i in range(len(self.videos)) for frame in self.frames(i))

    def annotations(self) -> AnnotationSet:
        """The tracks, loaded video by video."""
        return AnnotationSet(self.videos, self.categories, self._clip, info={"masks": self.masks})

    def _clip(self, position: int) -> Clip:
        return clip_of(self.videos[position], self.frames(position), self.categories)


def to_plain(frame: FrameResult) -> PlainFrame:
    """A frame in values that any process reads again without running anything."""
    arrays = [getattr(frame, name) for name in _ARRAYS]
    masks = [getattr(frame, name) for name in _MASKS]
    return [
        list(frame.size),
        [None if array is None else array.tobytes() for array in arrays],
        [None if several is None else [mask["counts"] for mask in several] for several in masks],
    ]


def from_plain(plain: PlainFrame) -> FrameResult:
    """The frame that `to_plain` has made plain."""
    size, arrays, masks = plain
    values: dict[str, Any] = {"size": tuple(size)}
    for (name, dtype), data in zip(_ARRAYS.items(), arrays, strict=True):
        values[name] = None if data is None else _array(data, dtype, is_boxes="boxes" in name)
    for name, several in zip(_MASKS, masks, strict=True):
        known = several is not None
        values[name] = [RLE(size=list(size), counts=c) for c in several] if known else None
    return FrameResult(**values)


def _array(data: bytes, dtype: Any, *, is_boxes: bool) -> NDArray[Any]:
    array = np.frombuffer(data, dtype)
    return array.reshape(-1, 5) if is_boxes else array
