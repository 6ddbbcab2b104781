"""What a training or validation set gives: a clip or an image with its instances.

Letters: T frames, H and W size, n instances.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor
from torch.utils.data import Dataset

from devis.data.clip_target import ClipTarget
from devis.losses import Target
from vidseg_common.training_feed import SampleKey

__all__ = ["ClipItem", "ImageItem", "ImageTarget", "SampleKey", "TrainSet", "to_target"]


@dataclass(frozen=True)
class ImageTarget:
    """Instances of an image; groups (crowds) are none.

    Attributes:
        boxes: (n, 4) centre, width, height in 0 to 1.
        labels: (n) outputs of the class head, from 0.
        masks: (n, H, W) bool; None where masks are not trained.
        size: height and width.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor | None
    size: tuple[int, int]


@dataclass(frozen=True)
class ClipItem:
    """A training clip.

    Attributes:
        images: (T, 3, H, W) float32, normalised.
        target: its instances.
        video_id: number of the video, or of the image that the clip is made of.
        start: number of its first frame in the video.
    """

    images: Tensor
    target: ClipTarget
    video_id: int
    start: int


@dataclass(frozen=True)
class ImageItem:
    """An image.

    Attributes:
        image: (3, H, W) float32, normalised.
        target: its instances.
        image_id: its number.
        original_size: height and width of the file.
    """

    image: Tensor
    target: ImageTarget
    image_id: int
    original_size: tuple[int, int]


def to_target(target: ClipTarget | ImageTarget) -> Target:
    """What the losses take."""
    valid = target.valid if isinstance(target, ClipTarget) else None
    return Target(target.labels, target.boxes, target.masks, valid)


ItemT_co = TypeVar("ItemT_co", ClipItem, ImageItem, covariant=True)


class TrainSet(Dataset[ItemT_co], Generic[ItemT_co]):
    """A training set; its samples depend on nothing but their keys.

    Attributes:
        category_names: of the classes from 1, which are the outputs of the class head plus 1.
    """

    category_names: Mapping[int, str]

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples of a pass."""

    @abstractmethod
    def sample(self, index: int, rng: random.Random) -> ItemT_co:
        """Makes a sample.

        Args:
            index: its number.
            rng: source of all draws.

        Raises:
            DatasetError: an image or a mask cannot be used; the message names it.
        """

    def __getitem__(self, key: SampleKey) -> ItemT_co:
        """The sample of a key; the same key gives the same sample in any process."""
        item, seed = key
        return self.sample(item, random.Random(seed))
