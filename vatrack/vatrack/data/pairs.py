"""Training samples: a key frame and a reference frame near it in the same video (spec 4.5)."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from vatrack.data.annotations import AnnotatedFrames, FrameObjects, matches
from vatrack.data.frames import frame_path, read_frame
from vatrack.data.settings import DatasetSettings
from vatrack.data.transforms import prepare_frame
from vatrack.losses.batch import PairSample
from vidseg_common.errors import DatasetError
from vidseg_common.training_feed import SampleKey

#: Draws of a pair before it is said that there is none.
MAX_DRAWS = 1000


class PairDataset(Dataset[PairSample]):
    """Every annotated frame of one or more data sets, each with a reference drawn near it.

    A sample depends on nothing but its key, in any process.

    Args:
        settings: of the data sets, which are read one after the other.
        progress: show a bar on stderr.

    Attributes:
        groups: of every sample; a batch is of one group.

    Raises:
        DatasetError: faults of the files, or no frame to train on.
    """

    def __init__(self, settings: Sequence[DatasetSettings], *, progress: bool = False) -> None:
        self.parts = [AnnotatedFrames(item, progress=progress) for item in settings]
        rows = [(n, index) for n, part in enumerate(self.parts) for index in part.keys]
        if not rows:
            files = ", ".join(str(item.ann_file) for item in settings)
            raise DatasetError(f"{files}: no frame has an object of the classes to train on")
        self._items = np.array(rows, np.int64)
        self.groups: NDArray[np.int64] = np.concatenate([part.groups for part in self.parts])

    def __len__(self) -> int:
        """Number of key frames."""
        return len(self._items)

    def __getitem__(self, key: SampleKey) -> PairSample:
        """The sample of a key.

        Raises:
            DatasetError: a frame is missing or of another size than the file says, or no pair of
                frames shares an object.
        """
        rng = random.Random(key.seed)
        part, index, other = self.draw_pair(key.item, rng)
        is_flipped = rng.random() < part.settings.pipeline.flip_ratio
        return self.sample(part, index, other, is_flipped=is_flipped)

    def draw_pair(self, item: int, rng: random.Random) -> tuple[AnnotatedFrames, int, int]:
        """Data set, key frame and reference; frames without a common object are passed over.

        Args:
            item: number of the key frame that is tried first.
            rng: source of the draws.

        Raises:
            DatasetError: many draws have found no pair.
        """
        same = np.flatnonzero(self.groups == self.groups[item])
        for _ in range(MAX_DRAWS):
            number, index = (int(value) for value in self._items[item])
            part = self.parts[number]
            near = part.references(index, part.settings.scope)
            other = int(near[rng.randrange(len(near))])
            first, second = part.objects(index), part.objects(other)
            if (matches(first, second) >= 0).any():
                return part, index, other
            item = int(same[rng.randrange(len(same))])
        files = ", ".join(str(part.settings.ann_file) for part in self.parts)
        raise DatasetError(
            f"{files}: {MAX_DRAWS} pairs of frames drawn, and none with an object in both"
        )

    def sample(
        self, part: AnnotatedFrames, index: int, other: int, *, is_flipped: bool
    ) -> PairSample:
        """The sample of two frames.

        Args:
            part: the data set.
            index: number of the key frame in it.
            other: number of the reference frame in it.
            is_flipped: mirror both.
        """
        first, second = part.objects(index), part.objects(other)
        pipeline = part.settings.pipeline
        image, target = prepare_frame(
            _pixels(part, index), first, matches(first, second), pipeline, is_flipped=is_flipped
        )
        ref_image, ref_target = prepare_frame(
            _pixels(part, other),
            second,
            matches(second, first),
            pipeline,
            is_flipped=is_flipped,
            with_masks=False,
        )
        return PairSample(image, target, ref_image, ref_target, part.file_name(index))

    def objects(self, item: int) -> FrameObjects:
        """The objects of a key frame."""
        number, index = self._items[item]
        return self.parts[number].objects(int(index))


def _pixels(part: AnnotatedFrames, index: int) -> NDArray[np.uint8]:
    path = frame_path(part.settings.img_prefix, part.file_name(index))
    image, video = read_frame(path), part.video_of(index)
    if image.shape[:2] != (video.height, video.width):
        raise DatasetError(
            f"{path}: {image.shape[1]}x{image.shape[0]} pixels, but {part.settings.ann_file} says "
            f"{video.width}x{video.height}"
        )
    return image
