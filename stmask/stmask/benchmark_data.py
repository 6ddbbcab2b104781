"""Data sets that inference runs on: videos, frames, categories. Source: spec sections 8.2 and 9."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stmask.config import DATA_ROOT_VARIABLE, Config
from vidseg_common.conversion import select_positions
from vidseg_common.datasets.annotations import AnnotationSet, Video
from vidseg_common.datasets.youtube_vis_lazy import open_annotations
from vidseg_common.errors import DatasetError, list_problems

_MOST_PROBLEMS = 10


@dataclass(frozen=True)
class EvalSet:
    """A data set for inference.

    Attributes:
        file: the annotation file.
        images: folder that the names of its frames are relative to.
        data: its videos, with ground truth where the file has any.
    """

    file: Path
    images: Path
    data: AnnotationSet

    @property
    def category_ids(self) -> list[int]:
        """Ids of the categories, ascending: class l is the one at l - 1."""
        return sorted(category.id for category in self.data.categories)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes 1, 2, ..."""
        names = self.data.category_names()
        return [names[number] for number in self.category_ids]

    def paths(self, video: Video) -> list[Path]:
        """Images of a video, in order."""
        return [self.images / name for name in video.file_names]


def evaluation_set(cfg: Config, *, train_sub: bool = False, valid_sub: bool = False) -> EvalSet:
    """The data set that a configuration evaluates on.

    Args:
        cfg: its `valid_dataset` is taken, unless one of the following is asked for.
        train_sub: the first nine tenths of the training videos, `train_sub.json` beside
            `valid_sub.json` (both are made by scripts/split_valid_sub.py).
        valid_sub: the last tenth.

    Raises:
        DatasetError: see `open_set`.
    """
    if not train_sub and not valid_sub:
        return open_set(Path(cfg.valid_dataset.ann_file), Path(cfg.valid_dataset.img_prefix))
    file = Path(cfg.valid_sub_dataset.ann_file)
    if train_sub:
        file = file.with_name(file.name.replace("valid_sub", "train_sub"))
    return open_set(file, Path(cfg.valid_sub_dataset.img_prefix))


def open_set(file: Path, images: Path) -> EvalSet:
    """Opens an annotation file of YouTube-VIS or OVIS.

    Raises:
        DatasetError: the file is missing or wrong, has no videos, or a video has no frames.
    """
    if not file.is_file():
        raise DatasetError(
            f"no annotation file {file} (the environment variable {DATA_ROOT_VARIABLE} names the "
            "folder of the data sets; scripts/split_valid_sub.py makes the sub-sets of training)"
        )
    data = open_annotations(file, images=images)
    if not data.videos:
        raise DatasetError(f"{file}: field videos: expected at least one video, found none")
    empty = [f"video {v.id}, file_names: no frames" for v in data.videos if not v.num_frames]
    if empty:
        raise DatasetError(list_problems(f"{file}: {len(empty)} video(s) have no frames:", empty))
    return EvalSet(file, images, data)


def check_classes(chosen: EvalSet, num_classes: int) -> None:
    """Makes sure that the network tells as many classes apart as the data set has.

    Args:
        chosen: the data set.
        num_classes: of the network, with background.

    Raises:
        DatasetError: it does not.
    """
    found = len(chosen.data.categories)
    if found != num_classes - 1:
        raise DatasetError(
            f"{chosen.file}: field categories: has {found}, but the network tells "
            f"{num_classes - 1} classes apart; --eval_dataset names another data set, --config "
            "another network"
        )


def check_images(chosen: EvalSet, videos: Sequence[Video]) -> None:
    """Makes sure that the frames of some videos exist.

    Raises:
        DatasetError: some do not; the first ones are listed.
    """
    missing = [
        f"video {video.id}, file_names: no image {path}"
        for video in videos
        for path in chosen.paths(video)
        if not path.is_file()
    ]
    if missing:
        shown = missing[:_MOST_PROBLEMS]
        more = len(missing) - len(shown)
        shown += [f"and {more} more"] if more else []
        title = f"{chosen.file}: {len(missing)} frame(s) do not exist below {chosen.images}:"
        raise DatasetError(list_problems(title, shown))


def in_order(
    data: AnnotationSet, *, by_id: bool = True, rng: random.Random | None = None
) -> AnnotationSet:
    """The videos in the order of inference; frames of a video always stay in order.

    Args:
        data: the data set.
        by_id: by the id of videos, else as in the file.
        rng: shuffles them.
    """
    places = list(range(len(data.videos)))
    if by_id:
        places.sort(key=lambda i: data.videos[i].id)
    if rng is not None:
        rng.shuffle(places)
    return select_positions(data, places)
