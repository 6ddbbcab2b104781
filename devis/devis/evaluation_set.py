"""Data sets that are evaluated: their frames, and their ground truth where it is public."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devis.config import Config
from devis.data.catalog import find
from vidseg_common.conversion import select_positions
from vidseg_common.datasets import coco
from vidseg_common.datasets.annotations import AnnotationSet, Video
from vidseg_common.datasets.youtube_vis_lazy import open_annotations
from vidseg_common.errors import DatasetError, list_problems

#: Problems of one kind that are listed.
MOST_PROBLEMS = 10


@dataclass(frozen=True)
class EvaluationSet:
    """A data set for inference.

    Attributes:
        file: the annotation file.
        images: folder that the names of its frames are relative to.
        data: its videos, or images as videos of one frame.
    """

    file: Path
    images: Path
    data: AnnotationSet

    def paths(self, video: Video) -> list[Path]:
        """Images of a video, in order."""
        return [self.images / name for name in video.file_names]


def open_evaluation_set(cfg: Config) -> EvaluationSet:
    """The validation set of a configuration.

    Raises:
        DatasetError: a file is missing or wrong, there is nothing in it, or it has classes that
            the data set of that name does not have.
        ConfigError: an unknown data set.
    """
    sets, root = cfg.DATASETS, Path(cfg.DATASETS.DATA_PATH)
    entry = find(sets.TYPE, sets.VAL_DATASET, "DATASETS.VAL_DATASET")
    file, images = root / entry.annotations, root / entry.images
    if not file.is_file():
        raise DatasetError(
            f"{sets.VAL_DATASET}: no annotation file {file}; DATASETS.DATA_PATH ({root}) has to be "
            "the folder of all data sets"
        )
    is_vis = sets.TYPE == "vis"
    data = open_annotations(file, images=images) if is_vis else coco.read(file, images=images)
    if not data.videos:
        name = "videos" if is_vis else "images"
        raise DatasetError(f"{file}: field {name}: expected at least one, found none")
    beyond = [c for c in data.categories if not 1 <= c.id <= entry.num_classes]
    if beyond:
        raise DatasetError(
            f"{file}: field categories: {sets.VAL_DATASET} has the numbers 1 to "
            f"{entry.num_classes}, found {beyond[0].id} ({beyond[0].name})"
        )
    empty = [f"video {v.id}, file_names: no frames" for v in data.videos if not v.num_frames]
    if empty:
        raise DatasetError(list_problems(f"{file}: {len(empty)} video(s) have no frames:", empty))
    return EvaluationSet(file, images, data if is_vis else _annotated(data))


def _annotated(data: AnnotationSet) -> AnnotationSet:
    """Images by ascending number; those without annotations are left out (spec 3.1)."""
    places = sorted(range(len(data.videos)), key=lambda place: data.videos[place].id)
    if data.has_annotations:
        places = [place for place in places if data.load(place).tracks]
    return select_positions(data, places)


def check_images(chosen: EvaluationSet, videos: Sequence[Video]) -> None:
    """Makes sure that frames exist before anything is computed.

    Raises:
        DatasetError: some do not; the first ones are listed.
    """
    missing = [
        f"{video.name}: no image {path}"
        for video in videos
        for path in chosen.paths(video)
        if not path.is_file()
    ]
    if missing:
        more = len(missing) - MOST_PROBLEMS
        shown = missing[:MOST_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
        title = f"{chosen.file}: {len(missing)} image(s) do not exist below {chosen.images}:"
        raise DatasetError(list_problems(title, shown))
