"""What a training step gets: pairs of frames and the objects in them.

Letters: N pairs, H and W of the padded batch, G objects of a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class FrameTargets:
    """The objects of one frame, at the size of the network's input.

    Attributes:
        boxes: (G, 4) float32 corners; amodal ones in the joint models.
        labels: (G,) int64 from 0.
        match: (G,) int64 the same object in the other frame of the pair, -1: not there.
        masks: (G, H, W) uint8; visible ones in the joint models. None in reference frames.
        amodal_masks: (G, H, W) uint8, in the joint models.
        visible_boxes: (G, 4) float32, in the two-box model.
        img_shape: height and width of the image without padding.
        pad_shape: with its own padding; the batch may be padded further.
    """

    boxes: Tensor
    labels: Tensor
    match: Tensor
    img_shape: tuple[int, int]
    pad_shape: tuple[int, int]
    masks: Tensor | None = None
    amodal_masks: Tensor | None = None
    visible_boxes: Tensor | None = None

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> FrameTargets:
        """A copy on a device."""
        return replace(self, **_each(self, lambda t: t.to(device, non_blocking=non_blocking)))

    def pin_memory(self) -> FrameTargets:
        """A copy in page-locked memory."""
        return replace(self, **_each(self, Tensor.pin_memory))


@dataclass(frozen=True)
class PairSample:
    """One pair of frames of a video, each padded as its own size asks for.

    Attributes:
        image: (3, h, w) float32 key frame, normalised and padded.
        target: its objects, masks (G, h, w).
        ref_image: (3, h', w') float32 reference frame.
        ref_target: its objects.
        name: of the key frame, for messages.
    """

    image: Tensor
    target: FrameTargets
    ref_image: Tensor
    ref_target: FrameTargets
    name: str = ""


@dataclass(frozen=True)
class TrainingBatch:
    """Pairs of frames of a video: the key frame, which all losses see, and its reference.

    Attributes:
        images: (N, 3, H, W) float32 key frames, normalised and padded.
        targets: objects of each.
        ref_images: (N, 3, H, W) float32 reference frames.
        ref_targets: objects of each; only boxes and labels are used.
        names: of the key frames, for messages.
    """

    images: Tensor
    targets: tuple[FrameTargets, ...]
    ref_images: Tensor
    ref_targets: tuple[FrameTargets, ...]
    names: tuple[str, ...] = ()

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> TrainingBatch:
        """A copy on a device."""
        return TrainingBatch(
            self.images.to(device, non_blocking=non_blocking),
            tuple(target.to(device, non_blocking=non_blocking) for target in self.targets),
            self.ref_images.to(device, non_blocking=non_blocking),
            tuple(target.to(device, non_blocking=non_blocking) for target in self.ref_targets),
            self.names,
        )

    def pin_memory(self) -> TrainingBatch:
        """A copy in page-locked memory."""
        return TrainingBatch(
            self.images.pin_memory(),
            tuple(target.pin_memory() for target in self.targets),
            self.ref_images.pin_memory(),
            tuple(target.pin_memory() for target in self.ref_targets),
            self.names,
        )


def collate(samples: Sequence[PairSample]) -> TrainingBatch:
    """One batch of pairs; images and masks get zeros right and below up to the largest."""
    images, targets = _together([(sample.image, sample.target) for sample in samples])
    ref_images, ref_targets = _together([(s.ref_image, s.ref_target) for s in samples])
    names = tuple(sample.name for sample in samples)
    return TrainingBatch(images, targets, ref_images, ref_targets, names)


def _together(
    frames: Sequence[tuple[Tensor, FrameTargets]],
) -> tuple[Tensor, tuple[FrameTargets, ...]]:
    height, width = (max(image.shape[axis] for image, _ in frames) for axis in (1, 2))

    def grow(values: Tensor) -> Tensor:
        return F.pad(values, (0, width - values.shape[-1], 0, height - values.shape[-2]))

    targets = []
    for _, target in frames:
        masks = [None if m is None else grow(m) for m in (target.masks, target.amodal_masks)]
        targets.append(replace(target, masks=masks[0], amodal_masks=masks[1]))
    return torch.stack([grow(image) for image, _ in frames]), tuple(targets)


def _each(targets: FrameTargets, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """What `change` makes of every tensor, by field."""
    values = {field.name: getattr(targets, field.name) for field in fields(targets)}
    return {name: change(value) for name, value in values.items() if isinstance(value, Tensor)}
