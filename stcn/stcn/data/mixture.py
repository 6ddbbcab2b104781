"""What each training stage is trained on (method specification sections 6.1, 6.3 and 6.5)."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from stcn.data.samples import DEFAULT_CROP, Sample, TrainingSet
from stcn.data.static_dataset import StaticTrainingSet, list_static_images
from stcn.data.video_dataset import BL30K_SCALE, ObjectFilter, VideoSetOptions, VideoTrainingSet
from vidseg_common.datasets.generic import image_mask_tree
from vidseg_common.datasets.records import VideoRecord, list_folders, read_name_list
from vidseg_common.errors import ConfigError, DatasetError

#: The 60 training videos of DAVIS 2017.
DAVIS_SUBSET = Path(__file__).with_name("davis_subset.txt")
#: How often an epoch visits each DAVIS video.
DAVIS_REPEATS = 5
#: YouTube-VOS is annotated in every fifth frame.
YOUTUBE_FRAME_STEP = 5
#: Folder under the static root, whether it has a folder per class, visits in an epoch.
STATIC_FOLDERS = (
    ("fss", True, 1),
    ("DUTS-TR", False, 1),
    ("DUTS-TE", False, 1),
    ("ecssd", False, 1),
    ("BIG_small", False, 5),
    ("HRSOD_small", False, 5),
)


class Mixture(TrainingSet):
    """Several data sets as one, each repeated a number of times in every epoch.

    Args:
        parts: data sets with their repetitions.
    """

    def __init__(self, parts: Sequence[tuple[TrainingSet, int]]) -> None:
        if not parts or any(repeats < 1 for _, repeats in parts):
            raise ConfigError("a mixture needs data sets, each repeated at least once")
        self.parts = [part for part, _ in parts]
        self.ends = list(accumulate(len(part) * repeats for part, repeats in parts))

    def __len__(self) -> int:
        """Return the items of one epoch, repetitions counted."""
        return self.ends[-1]

    def sample(self, index: int, rng: np.random.RandomState, max_jump: int) -> Sample:
        """Return a sample of the part in which ``index`` lies."""
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of a mixture of {len(self)}")
        number = bisect_right(self.ends, index)
        start = self.ends[number - 1] if number else 0
        part = self.parts[number]
        return part.sample((index - start) % len(part), rng, max_jump)


@dataclass(frozen=True)
class StageData:
    """Where the data of the stages lies and how samples are cut.

    Attributes:
        static_root: folder of the static image sets (stage 0).
        bl_root: folder of BL30K (stage 1).
        yv_root: folder of YouTube-VOS, holding ``train_480p`` (stages 2 and 3);
            None trains without it.
        davis_root: folder of DAVIS, holding ``2017/trainval`` (stages 2 and 3); None trains
            without it.
        yv_subset: file with the YouTube-VOS videos to use, one name a line; None for all.
        davis_subset: the same for DAVIS.
        crop_size: side of the square samples in pixels.
    """

    static_root: Path = Path("../static")
    bl_root: Path = Path("../BL30K")
    yv_root: Path | None = Path("../YouTube")
    davis_root: Path | None = Path("../DAVIS")
    yv_subset: Path | None = None
    davis_subset: Path | None = DAVIS_SUBSET
    crop_size: int = DEFAULT_CROP

    def dataset(self, stage: int) -> TrainingSet:
        """Return the data set of a stage.

        Args:
            stage: 0 static images, 1 BL30K, 2 and 3 DAVIS and YouTube-VOS.

        Raises:
            ConfigError: there is no such stage.
            DatasetError: a folder is missing or holds nothing to train on.
        """
        if stage == 0:
            return self._static()
        if stage == 1:
            return self._bl30k()
        if stage in (2, 3):
            return self._main()
        raise ConfigError(f"there is no stage {stage}: 0, 1, 2 and 3 exist")

    def _static(self) -> TrainingSet:
        parts: list[tuple[TrainingSet, int]] = []
        for folder, per_class, repeats in STATIC_FOLDERS:
            pairs = list_static_images(self.static_root / folder, per_class=per_class)
            parts.append((StaticTrainingSet(pairs, crop_size=self.crop_size), repeats))
        return Mixture(parts)

    def _bl30k(self) -> TrainingSet:
        records = image_mask_tree(self.bl_root / "JPEGImages", self.bl_root / "Annotations")
        options = VideoSetOptions(
            self.crop_size, crop_scale=BL30K_SCALE, object_filter=ObjectFilter()
        )
        return VideoTrainingSet(records, options)

    def _main(self) -> TrainingSet:
        parts: list[tuple[TrainingSet, int]] = []
        if self.davis_root is not None:
            root = self.davis_root / "2017" / "trainval"
            records = _listed_videos(
                root / "JPEGImages" / "480p", root / "Annotations" / "480p", self.davis_subset
            )
            options = VideoSetOptions(self.crop_size)
            parts.append((VideoTrainingSet(records, options), DAVIS_REPEATS))
        if self.yv_root is not None:
            root = self.yv_root / "train_480p"
            records = _listed_videos(root / "JPEGImages", root / "Annotations", self.yv_subset)
            options = VideoSetOptions(self.crop_size, frame_step=YOUTUBE_FRAME_STEP)
            parts.append((VideoTrainingSet(records, options), 1))
        return Mixture(parts)


def _listed_videos(images: Path, masks: Path, subset: Path | None) -> list[VideoRecord]:
    """Return the videos of a data set that a list names; all of them without a list."""
    if subset is None:
        return image_mask_tree(images, masks)
    present = set(list_folders(images))
    listed = read_name_list(subset)
    names = [name for name in listed if name in present]
    if not names:
        raise DatasetError(f"{images}: holds none of the {len(listed)} videos listed in {subset}")
    if len(names) < len(listed):
        warnings.warn(
            f"{images}: {len(listed) - len(names)} of the {len(listed)} videos listed in "
            f"{subset} are missing; training goes on with the others",
            stacklevel=2,
        )
    return image_mask_tree(images, masks, names=names)
