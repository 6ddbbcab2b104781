"""A clip while it is made: frames and masks as arrays, then as a sample. Source: spec 7.3, 7.4.

Letters: I instances, T frames, H rows, W columns.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from stemseg.data.pixels import frames_to_tensor, resize_frames, resize_masks
from stemseg.data.samples import ClipSample
from stemseg.inference.preprocess import InputRule, frame_geometry, normalise
from vidseg_common.frame_augment import FrameAugmenter, label_map


@dataclass(frozen=True)
class FrameArrays:
    """One frame with its annotations.

    Attributes:
        image: (H, W, 3) uint8 in the order blue, green, red.
        masks: I masks, (H, W) uint8.
        ignore: (H, W) uint8.
        valid: (H, W) uint8, 0 where the frame shows nothing; None for all valid.
    """

    image: np.ndarray
    masks: Sequence[np.ndarray]
    ignore: np.ndarray
    valid: np.ndarray | None = None

    def flipped(self) -> FrameArrays:
        """The frame mirrored left to right."""
        return FrameArrays(
            np.ascontiguousarray(self.image[:, ::-1]),
            [np.ascontiguousarray(mask[:, ::-1]) for mask in self.masks],
            np.ascontiguousarray(self.ignore[:, ::-1]),
            None if self.valid is None else np.ascontiguousarray(self.valid[:, ::-1]),
        )

    def augmented(self, augmenter: FrameAugmenter, rng: random.Random) -> FrameArrays:
        """A random variation of the frame; where masks overlap, the later one stays."""
        size = self.ignore.shape
        labels = label_map(self.masks, (size[0], size[1]))
        valid = np.ones(size, np.uint8) if self.valid is None else self.valid
        image, (labels, ignore, valid) = augmenter.apply(
            self.image, (labels, self.ignore, valid), rng
        )
        masks = [(labels == i).astype(np.uint8) for i in range(1, len(self.masks) + 1)]
        return FrameArrays(image, masks, ignore, valid)

    def blanked(self) -> FrameArrays:
        """The frame with black where it shows nothing."""
        if self.valid is None:
            return self
        return replace(self, image=self.image * (self.valid > 0)[..., None].astype(np.uint8))


@dataclass(frozen=True)
class ClipLabels:
    """What a clip is called and shows.

    Attributes:
        name: the sequence or image.
        category_ids: class of every instance.
    """

    name: str
    category_ids: Sequence[int]


def make_sample(frames: Sequence[FrameArrays], labels: ClipLabels, rule: InputRule) -> ClipSample:
    """Resizes and normalises a clip.

    Where a frame shows nothing it gets the mean colour; call `blanked` before for black.

    Args:
        frames: T frames of one size.
        labels: name and classes.
        rule: size and normalisation.
    """
    height, width = frames[0].ignore.shape
    size = frame_geometry((height, width), rule).network
    images = normalise(frames_to_tensor([frame.image for frame in frames]), rule)
    for t, frame in enumerate(frames):
        if frame.valid is not None:
            images[t, :, torch.from_numpy(frame.valid == 0)] = 0
    count = len(labels.category_ids)
    masks = np.zeros((count, len(frames), height, width), np.uint8)
    for t, frame in enumerate(frames):
        for i, mask in enumerate(frame.masks):
            masks[i, t] = mask
    resized = resize_masks(torch.from_numpy(masks).flatten(0, 1), size)
    ignore = resize_masks(torch.from_numpy(np.stack([frame.ignore for frame in frames])), size)
    return ClipSample(
        images=resize_frames(images, size),
        masks=resized.unflatten(0, (count, len(frames))),
        ignore_masks=ignore,
        category_ids=torch.tensor(labels.category_ids, dtype=torch.int64),
        name=labels.name,
        original_size=(width, height),
    )
