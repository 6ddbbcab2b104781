"""Pairs of frames as one batch (spec 8.3).

Letters: K pairs (clips), B = 2K frames, H and W the padded size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from stmask.data.pairs import PairSample
from stmask.losses.targets import FrameTargets


@dataclass(frozen=True)
class Batch:
    """Pairs of one forward pass.

    Attributes:
        images: (K, 2, 3, H, W) float32.
        targets: B frames, those of a pair next to each other.
        names: video and frames of every pair.
    """

    images: torch.Tensor
    targets: tuple[FrameTargets, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        """K."""
        return len(self.images)

    @property
    def frames(self) -> torch.Tensor:
        """(B, 3, H, W) images in the order of the targets."""
        return self.images.flatten(0, 1)

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


def collate(samples: Sequence[PairSample]) -> Batch:
    """Makes a batch; pairs of different sizes are padded, right and bottom, to the largest.

    Args:
        samples: K pairs.
    """
    sides = [sample.images.shape[-2:] for sample in samples]
    size = max(side[0] for side in sides), max(side[1] for side in sides)
    return Batch(
        images=torch.stack([_padded(sample.images, size) for sample in samples]),
        targets=tuple(_grown(t, size) for sample in samples for t in sample.targets),
        names=tuple(sample.name for sample in samples),
    )


def _padded(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    height, width = maps.shape[-2:]
    if (height, width) == size:
        return maps
    return F.pad(maps, (0, size[1] - width, 0, size[0] - height))


def _grown(targets: FrameTargets, size: tuple[int, int]) -> FrameTargets:
    """Targets on a larger canvas, of which their boxes are a smaller share."""
    height, width = targets.masks.shape[-2:]
    across, down = width / size[1], height / size[0]
    return replace(
        targets,
        boxes=targets.boxes * torch.tensor([across, down, across, down]),
        masks=_padded(targets.masks, size),
    )
