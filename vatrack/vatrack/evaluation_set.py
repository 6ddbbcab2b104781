"""Data sets that are run and scored: their frames, and their ground truth where it is public."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vatrack.data.annotations import labels_of, wrong_kind
from vatrack.data.frames import frame_path
from vatrack.data.settings import DatasetSettings
from vidseg_common.datasets import sailvos
from vidseg_common.datasets.annotations import AnnotationSet, Category, Video
from vidseg_common.datasets.json_stream import iter_items
from vidseg_common.datasets.sailvos_kinds import kind_of
from vidseg_common.errors import DatasetError, VideoError, list_problems
from vidseg_common.video import open_source

_MOST_MISSING = 10
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class EvaluationSet:
    """A data set to run a network on.

    Attributes:
        settings: of the configuration.
        data: videos and ground truth; its categories are in the order of labels.
    """

    settings: DatasetSettings
    data: AnnotationSet

    @property
    def num_frames(self) -> int:
        """Of all videos."""
        return sum(video.num_frames for video in self.data.videos)

    def paths_of(self, video: Video) -> list[Path]:
        """Frames of a video, in order."""
        return [frame_path(self.settings.img_prefix, name) for name in video.file_names]

    def frames_of(self, video: Video, prefetch: int = 0) -> Generator[Image, None, None]:
        """Frames (H, W, 3) RGB of a video.

        Args:
            video: which one.
            prefetch: frames read ahead in a thread.

        Raises:
            VideoError: a frame cannot be read.
            DatasetError: a frame is of another size than the file says.
        """
        try:
            with open_source(self.paths_of(video), prefetch=prefetch) as source:
                for frame in source:
                    if frame.image.shape[:2] != (video.height, video.width):
                        found = f"{frame.image.shape[1]}x{frame.image.shape[0]}"
                        raise DatasetError(
                            f"{self.settings.ann_file}: video {video.id} ({video.name}), width and "
                            f"height: {video.width}x{video.height}, but {frame.name} is {found}"
                        )
                    yield frame.image
        except VideoError as error:
            raise VideoError(f"video {video.id} ({video.name}): {error}") from error

    def check_frames(self, videos: Sequence[Video] | None = None) -> None:
        """Makes sure that frames exist before anything is computed.

        Args:
            videos: of which; None: all.

        Raises:
            DatasetError: some do not; the first ones are listed.
        """
        missing = [
            f"video {video.id} ({video.name}): no frame {path}"
            for video in (self.data.videos if videos is None else videos)
            for path in self.paths_of(video)
            if not path.is_file()
        ]
        if missing:
            title = f"{self.settings.ann_file}: {len(missing)} frame(s) are not there:"
            raise DatasetError(list_problems(title, missing[:_MOST_MISSING]))


def open_evaluation_set(settings: DatasetSettings, *, progress: bool = False) -> EvaluationSet:
    """Opens a data set.

    Args:
        settings: as the configuration says.
        progress: show a bar on stderr.

    Raises:
        DatasetError: the file is missing or wrong, of a kind that does not have the masks of the
            model, has category ids outside 1..C or a video without frames.
    """
    file = settings.ann_file
    try:
        data = sailvos.read(file, images=settings.img_prefix, progress=progress)
    except DatasetError:
        if file.is_file():
            # Ids that are off by one make every annotation a fault: told first.
            listed = [item for _, item in iter_items(file, ["categories"])]
            categories = [
                Category(c["id"], c["name"]) for c in listed if {"id", "name"} <= c.keys()
            ]
            labels_of(categories, settings)
        raise
    labels = labels_of(list(data.categories), settings)
    found = kind_of(data.info.get("sailvos_kind", settings.masks))
    if data.has_annotations and settings.masks == "joint" and found.name != "joint":
        raise DatasetError(wrong_kind(file, found, kind_of("joint")))
    empty = [f"video {v.id} ({v.name})" for v in data.videos if not v.num_frames]
    if empty or not data.videos:
        title = f"{file}: videos without frames:" if empty else f"{file}: has no videos"
        raise DatasetError(list_problems(title, empty) if empty else title)
    ids = {label: number for number, label in labels.items()}
    known = {category.id: category for category in data.categories}
    used = set(ids.values())
    free = iter(i for i in range(1, len(settings.classes) + 1) if i not in used)
    categories = [
        known[ids[label]] if label in ids else Category(next(free), name)
        for label, name in enumerate(settings.classes)
    ]
    return EvaluationSet(settings, replace(data, categories=categories))
