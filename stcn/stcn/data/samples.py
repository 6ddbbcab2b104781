"""The form of a training sample, the same for every data set of this package.

A sample is a dictionary:

========== ================= =======================================================
key        shape             content
========== ================= =======================================================
rgb        (3, 3, H, W)      three normalised frames, float32
gt         (3, 1, H, W)      mask of the target object, float32 in 0..1
sec_gt     (3, 1, H, W)      mask of the second object; zeros when there is none
selector   (2,)              1 where the object exists, float32
cls_gt     (3, H, W)         0 background, 1 target, 2 second object, int64
info       --                ``name`` and ``frames`` (three strings), for messages
========== ================= =======================================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

#: Seeds of PyTorch and NumPy generators are drawn below this.
SEED_RANGE = 2_147_483_647
#: Side of the square crop of the published training, in pixels.
DEFAULT_CROP = 384

Sample = dict[str, Any]


class SampleKey(NamedTuple):
    """What makes a sample: the item, the seed of its draws and the largest frame distance."""

    item: int
    seed: int
    max_jump: int


class TrainingSet(Dataset[Sample], ABC):
    """A data set whose samples depend on nothing but their key."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of items (images or videos)."""

    @abstractmethod
    def sample(self, index: int, rng: np.random.RandomState, max_jump: int) -> Sample:
        """Return a sample of one item.

        Args:
            index: number of the item.
            rng: source of all draws.
            max_jump: largest distance of neighbouring frames where every frame is annotated;
                ignored where the frames are made from one image.
        """

    def __getitem__(self, key: SampleKey) -> Sample:
        """Return the sample of a key; the same key gives the same sample anywhere."""
        item, seed, max_jump = key
        return self.sample(item, np.random.RandomState(seed), max_jump)


def draw_seed(rng: np.random.RandomState) -> int:
    """Draw the seed of another generator."""
    return int(rng.randint(SEED_RANGE))


def choose_two(labels: np.ndarray, rng: np.random.RandomState) -> tuple[int | None, int | None]:
    """Draw a target and, where there is another label, a second object."""
    if len(labels) == 0:
        return None, None
    target = int(rng.choice(labels))
    others = labels[labels != target]
    return target, int(rng.choice(others)) if len(others) else None


def two_object_sample(
    frames: torch.Tensor,
    labels: np.ndarray,
    target: int | None,
    second: int | None,
    info: dict[str, Any],
) -> Sample:
    """Build the sample of two chosen objects of a label map.

    Args:
        frames: (3, 3, H, W) normalised frames.
        labels: (3, H, W) integer label maps.
        target: label of the target, None for a sample of background only.
        second: label of the second object, if there is one.
        info: name and frames.
    """
    nothing = np.zeros(labels.shape, dtype=bool)
    target_mask = nothing if target is None else labels == target
    second_mask = nothing if second is None else labels == second
    cls_gt = target_mask.astype(np.int64) + 2 * second_mask.astype(np.int64)
    return {
        "rgb": frames,
        "gt": torch.from_numpy(target_mask[:, None].astype(np.float32)),
        "sec_gt": torch.from_numpy(second_mask[:, None].astype(np.float32)),
        "selector": torch.tensor([1.0, 0.0 if second is None else 1.0]),
        "cls_gt": torch.from_numpy(cls_gt),
        "info": info,
    }
