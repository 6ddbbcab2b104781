"""The annotated videos of a training set, compact enough to be shared by loader processes.

Letters: T frames of a video, K objects of it, H and W its size. Source: spec 8.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vidseg_common import rle
from vidseg_common.datasets import youtube_vis
from vidseg_common.datasets.annotations import Clip, Track
from vidseg_common.errors import DatasetError
from vidseg_common.rle import RLE


class MaskStore:
    """Run lengths of many masks in one buffer, which processes share instead of copying it.

    Args:
        counts: the compressed strings of the masks.
    """

    def __init__(self, counts: Iterable[str]) -> None:
        parts = [text.encode("ascii") for text in counts]
        self._ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        self._data = np.frombuffer(b"".join(parts), dtype=np.uint8)

    def __len__(self) -> int:
        """Number of masks."""
        return len(self._ends) - 1

    def decode(self, number: int, size: tuple[int, int]) -> np.ndarray:
        """(H, W) uint8, 0 or 1."""
        text = self._data[self._ends[number] : self._ends[number + 1]].tobytes()
        mask = rle.decode({"size": list(size), "counts": text})
        return mask.astype(np.uint8, order="C")


@dataclass(frozen=True)
class TrainVideo:
    """One video with its objects; groups (crowds) are left out.

    Attributes:
        name: of the video, for messages.
        size: (H, W) of the frames.
        file_names: T images, relative to the folder of images.
        labels: (K,) classes from 1: the rank of the category.
        ids: (K,) ids of the annotations, unique in the data set.
        boxes: (T, K, 4) float32 corners (x1, y1, x2, y2) in pixels, both pixels included; zeros
            where the object is not to be used.
        masks: (T, K) numbers of the masks in the store; -1 where the object is not to be used.
    """

    name: str
    size: tuple[int, int]
    file_names: tuple[str, ...]
    labels: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray

    def objects_in(self, frame: int) -> np.ndarray:
        """Which of the K objects may be used in a frame."""
        return np.flatnonzero(self.masks[frame] >= 0)


@dataclass(frozen=True)
class TrainVideos:
    """All videos of a file.

    Attributes:
        file: the annotation file.
        images: folder that file names are relative to.
        videos: in the order of the file.
        store: their masks.
        category_names: names of the classes 1, 2, ...
    """

    file: Path
    images: Path
    videos: tuple[TrainVideo, ...]
    store: MaskStore
    category_names: tuple[str, ...]


def read_videos(file: str | Path, images: str | Path, *, progress: bool = False) -> TrainVideos:
    """Reads the training annotations of YouTube-VIS or OVIS.

    Args:
        file: the JSON file.
        images: folder of the frames.
        progress: show a bar on stderr.

    Raises:
        DatasetError: the file is missing, cannot be used (all errors are listed), or has no
            annotations.
    """
    data = youtube_vis.read(file, images=images, progress=progress)
    if not data.has_annotations:
        raise DatasetError(f"{file}: field annotations: missing, so there is nothing to train on")
    categories = sorted(data.categories, key=lambda category: category.id)
    ranks = {category.id: rank for rank, category in enumerate(categories, start=1)}
    counts: list[str] = []
    videos = [_video(clip, ranks, counts) for clip in data.clips()]
    return TrainVideos(
        file=Path(file),
        images=Path(images),
        videos=tuple(videos),
        store=MaskStore(counts),
        category_names=tuple(category.name for category in categories),
    )


def _video(clip: Clip, ranks: dict[int, int], counts: list[str]) -> TrainVideo:
    """The objects of a clip; their masks go to the end of `counts`."""
    # The mask of a group would shift the masks of the objects behind it against their boxes.
    tracks = [track for track in clip.tracks if not track.is_crowd]
    boxes = np.zeros((clip.video.num_frames, len(tracks), 4), np.float32)
    masks = np.full((clip.video.num_frames, len(tracks)), -1, np.int64)
    for k, track in enumerate(tracks):
        for frame, box, mask in _usable(track):
            x, y, w, h = box
            boxes[frame, k] = x, y, x + w - 1, y + h - 1
            masks[frame, k] = len(counts)
            counts.append(mask["counts"])
    return TrainVideo(
        name=clip.video.name,
        size=(clip.video.height, clip.video.width),
        file_names=clip.video.file_names,
        labels=np.array([ranks[track.category_id] for track in tracks], np.int64),
        ids=np.array([track.id for track in tracks], np.int64),
        boxes=boxes,
        masks=masks,
    )


def _usable(track: Track) -> Iterator[tuple[int, Sequence[float], RLE]]:
    """Frame, box [x, y, w, h] and mask wherever an object is large enough to be used."""
    for frame, mask in enumerate(track.segmentations):
        if mask is None:
            continue
        box = rle.to_bbox(mask) if track.bboxes is None else track.bboxes[frame]
        area = rle.area(mask) if track.areas is None else track.areas[frame]
        if box is not None and (area or 0) > 0 and min(box[2:]) >= 1:
            yield frame, box, mask
