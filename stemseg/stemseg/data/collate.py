"""Clips of different sizes as one batch. Source: spec 7.6.

Letters: N clips, I instances, T frames, H and W the padded size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from stemseg.data.samples import ClipSample

#: Sides of the network's input are multiples of this.
SIZE_DIVISOR = 32


@dataclass(frozen=True)
class ClipTargets:
    """What a clip ought to give.

    Attributes:
        masks: (I, T, H, W) uint8.
        ignore_masks: (T, H, W) uint8.
        category_ids: (I,) int64.
    """

    masks: torch.Tensor
    ignore_masks: torch.Tensor
    category_ids: torch.Tensor

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> ClipTargets:
        """A copy on a device."""
        return ClipTargets(
            self.masks.to(device, non_blocking=non_blocking),
            self.ignore_masks.to(device, non_blocking=non_blocking),
            self.category_ids.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> ClipTargets:
        """A copy in page-locked memory."""
        return ClipTargets(
            self.masks.pin_memory(), self.ignore_masks.pin_memory(), self.category_ids.pin_memory()
        )


@dataclass(frozen=True)
class Batch:
    """Clips of one forward pass.

    Attributes:
        images: (N, T, 3, H, W) float32.
        targets: one entry per clip, padded like the images.
        sizes: (height, width) of every clip without padding.
        names: sequence or image of every clip.
    """

    images: torch.Tensor
    targets: tuple[ClipTargets, ...]
    sizes: tuple[tuple[int, int], ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.images)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """A copy on a device."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=non_blocking),
            targets=tuple(t.to(device, non_blocking=non_blocking) for t in self.targets),
        )

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory; PyTorch's data loader calls it."""
        return replace(
            self,
            images=self.images.pin_memory(),
            targets=tuple(target.pin_memory() for target in self.targets),
        )


def collate(samples: Sequence[ClipSample]) -> Batch:
    """Pads clips with zeros, right and bottom, to the largest of them and multiples of 32.

    Masks are padded likewise, so that the padding counts as background.

    Args:
        samples: N clips of equally many frames.
    """
    height = _round_up(max(sample.images.shape[-2] for sample in samples))
    width = _round_up(max(sample.images.shape[-1] for sample in samples))
    return Batch(
        images=torch.stack([_pad(sample.images, height, width) for sample in samples]),
        targets=tuple(
            ClipTargets(
                _pad(sample.masks, height, width),
                _pad(sample.ignore_masks, height, width),
                sample.category_ids,
            )
            for sample in samples
        ),
        sizes=tuple((s.images.shape[-2], s.images.shape[-1]) for s in samples),
        names=tuple(sample.name for sample in samples),
    )


def _round_up(side: int) -> int:
    return -(-side // SIZE_DIVISOR) * SIZE_DIVISOR


def _pad(values: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return F.pad(values, (0, width - values.shape[-1], 0, height - values.shape[-2]))
