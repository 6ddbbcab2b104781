"""Training samples: two neighbouring frames of a video (spec 8.2, 8.3).

Letters: H, W padded size, n objects of a frame.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from stmask.data.annotations import TrainVideos
from stmask.data.augment import Change
from stmask.data.frames import load_frame, to_tensors
from stmask.losses.targets import FrameTargets
from stmask.pixels import IMAGE_SIZE, SIZE_DIVISOR
from vidseg_common.errors import DatasetError
from vidseg_common.training_feed import SampleKey

__all__ = ["PairDataset", "PairRules", "PairSample", "SampleKey"]


@dataclass(frozen=True)
class PairSample:
    """Two frames of a video, the earlier one first.

    Attributes:
        images: (2, 3, H, W) float32, normalised and padded.
        targets: the objects of both frames; an object has the same id in both.
        name: video and frames, for messages.
    """

    images: torch.Tensor
    targets: tuple[FrameTargets, FrameTargets]
    name: str


@dataclass(frozen=True)
class PairRules:
    """How pairs are drawn and changed.

    Attributes:
        reach: frames that the other frame may be away, before or after, times `stride`.
        stride: see `reach`.
        flip_ratio: how often both frames are mirrored.
        sizes: (width, height) to which frames are stretched: one, or two between which one is
            drawn.
        keep_ratio: stretch both sides by one factor, as much as fits.
        divisor: of the padded sides.
        changes: further changes of both frames, none in any released model.
    """

    reach: int = 2
    stride: int = 1
    flip_ratio: float = 0.5
    sizes: tuple[tuple[int, int], ...] = (IMAGE_SIZE,)
    keep_ratio: bool = False
    divisor: int = SIZE_DIVISOR
    changes: tuple[Change, ...] = ()

    def draw_size(self, size: tuple[int, int], rng: random.Random) -> tuple[int, int]:
        """(width, height) for frames of a (width, height)."""
        share = rng.random() if len(self.sizes) > 1 else 0.0
        first, last = self.sizes[0], self.sizes[-1]
        wanted = [a + share * (b - a) for a, b in zip(first, last, strict=True)]
        if self.keep_ratio:
            factor = min(new / old for new, old in zip(wanted, size, strict=True))
            wanted = [factor * side for side in size]
        return max(round(wanted[0]), 1), max(round(wanted[1]), 1)


class PairDataset(Dataset[PairSample]):
    """Every frame with an object, each with a neighbour drawn when the sample is made.

    Samples depend on nothing but their key.

    Args:
        data: the annotated videos.
        rules: how pairs are drawn and changed.

    Raises:
        DatasetError: no frame has an object.
    """

    def __init__(self, data: TrainVideos, rules: PairRules | None = None) -> None:
        self.data, self.rules = data, rules or PairRules()
        # By frame rather than by set of tuples: a video's row tells what its neighbours are.
        self.has_objects = [np.any(video.masks >= 0, axis=1).tolist() for video in data.videos]
        items = [
            (i, frame) for i, used in enumerate(self.has_objects) for frame in np.flatnonzero(used)
        ]
        if not items:
            raise DatasetError(f"{data.file}: no frame of its videos has an object to train on")
        self._items = np.array(items, np.int64)

    def __len__(self) -> int:
        """Number of frames with an object."""
        return len(self._items)

    def __getitem__(self, key: SampleKey) -> PairSample:
        """The sample of a key; the same key gives the same sample in any process."""
        item, seed = key
        return self.sample(item, random.Random(seed))

    def draw_pair(self, index: int, rng: random.Random) -> tuple[int, int, int]:
        """Video and two frames in order; the same frame twice where it has no neighbour.

        Args:
            index: number of the item.
            rng: source of the draw.
        """
        video, frame = (int(value) for value in self._items[index])
        used, rules = self.has_objects[video], self.rules
        steps = [s * rules.stride for s in range(-rules.reach, rules.reach + 1) if s]
        others = [frame + s for s in steps if 0 <= frame + s < len(used) and used[frame + s]]
        other = rng.choice(others) if others else frame
        return video, min(frame, other), max(frame, other)

    def sample(self, index: int, rng: random.Random) -> PairSample:
        """Makes a sample.

        Args:
            index: number of the item.
            rng: source of all draws.

        Raises:
            DatasetError: an image cannot be used; the message names it.
        """
        video, *numbers = self.draw_pair(index, rng)
        frames = [load_frame(self.data, video, number) for number in numbers]
        for change in self.rules.changes:
            frames = change.apply(frames, rng)
        size = self.rules.draw_size(frames[0].size, rng)
        is_flipped = rng.random() < self.rules.flip_ratio
        divisor = self.rules.divisor
        parts = [to_tensors(f, size, is_flipped=is_flipped, divisor=divisor) for f in frames]
        return PairSample(
            images=torch.stack([image for image, _ in parts]),
            targets=(parts[0][1], parts[1][1]),
            name=f"{self.data.videos[video].name}, frames {numbers[0]} and {numbers[1]}",
        )
