"""The form of a training sample, the same for every data set. Source: spec 7.3, 7.4.

Letters: I instances, T frames, h rows, w columns of the resized frames.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset

from vidseg_common.training_feed import SampleKey

__all__ = ["ClipSample", "ClipSet", "SampleKey"]


@dataclass(frozen=True)
class ClipSample:
    """One training clip.

    Attributes:
        images: (T, 3, h, w) float32, normalised.
        masks: (I, T, h, w) uint8, 0 or 1; masks may overlap.
        ignore_masks: (T, h, w) uint8, 1 where the loss is to look away.
        category_ids: (I,) int64, class of each instance, from 1.
        name: the sequence or image, for messages.
        original_size: (width, height) of the frames in their files.
    """

    images: torch.Tensor
    masks: torch.Tensor
    ignore_masks: torch.Tensor
    category_ids: torch.Tensor
    name: str
    original_size: tuple[int, int] = (0, 0)


class ClipSet(Dataset[ClipSample], ABC):
    """A data set whose samples depend on nothing but their key.

    Attributes:
        name: of the data set, for messages.
        category_names: names of the class ids of its samples.
    """

    name: str
    category_names: dict[int, str]

    @abstractmethod
    def __len__(self) -> int:
        """Number of clips or images."""

    @abstractmethod
    def sample(self, index: int, rng: random.Random) -> ClipSample:
        """Makes a sample.

        Args:
            index: number of the clip or image.
            rng: source of all draws.

        Raises:
            DatasetError: an image cannot be used; the message names it.
        """

    def __getitem__(self, key: SampleKey) -> ClipSample:
        """The sample of a key; the same key gives the same sample in any process."""
        item, seed = key
        return self.sample(item, random.Random(seed))
