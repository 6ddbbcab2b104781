"""What the frames of a batch ought to give, and the priors that stand for their objects.

Letters: B frames of a batch, n objects of a frame, N priors, M positive priors of the whole batch.
Frames of a clip are neighbours: the even one is the reference, the odd one the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stmask.losses.matching import Matches


@dataclass(frozen=True)
class FrameTargets:
    """The objects of one frame.

    Attributes:
        boxes: (n, 4) float32 corners in units of the padded image.
        labels: (n,) int64 classes from 1.
        ids: (n,) int64, the same number for the same object in every frame, from 1.
        masks: (n, H, W) uint8 at the size of the padded image.
    """

    boxes: Tensor
    labels: Tensor
    ids: Tensor
    masks: Tensor

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> FrameTargets:
        """A copy on a device."""
        parts = (self.boxes, self.labels, self.ids, self.masks)
        return FrameTargets(*(part.to(device, non_blocking=non_blocking) for part in parts))

    def pin_memory(self) -> FrameTargets:
        """A copy in page-locked memory."""
        parts = (self.boxes, self.labels, self.ids, self.masks)
        return FrameTargets(*(part.pin_memory() for part in parts))


@dataclass(frozen=True)
class Positives:
    """The M priors that stand for an object, in the order of frames, then priors.

    Attributes:
        frame: (M,) frame of each.
        prior: (M,) its prior.
        object: (M,) its object, as a row of that frame's targets.
        boxes: (M, 4) corners of the object.
        ids: (M,) id of the object.
        weights: (M,) one over the positives of its frame.
        ends: B numbers: positives of each frame and of those before it.
    """

    frame: Tensor
    prior: Tensor
    object: Tensor
    boxes: Tensor
    ids: Tensor
    weights: Tensor
    ends: tuple[int, ...]

    def __len__(self) -> int:
        """M."""
        return len(self.frame)

    def of(self, values: Tensor) -> Tensor:
        """The rows (M, ...) of the positives in an output (B, N, ...)."""
        return values[self.frame, self.prior]

    def in_frame(self, frame: int) -> slice:
        """Which of the M positives are of a frame."""
        return slice(self.ends[frame - 1] if frame else 0, self.ends[frame])


def find_positives(matches: Matches, targets: Sequence[FrameTargets]) -> Positives:
    """The positive priors of a batch."""
    is_positive = matches.classes > 0
    frame, prior = is_positive.nonzero(as_tuple=True)
    counts = is_positive.sum(1)
    rows = matches.objects[frame, prior]
    sizes = [len(target.boxes) for target in targets]
    starts = torch.tensor([0, *sizes[:-1]], device=frame.device).cumsum(0)
    boxes = torch.cat([target.boxes for target in targets])
    return Positives(
        frame=frame,
        prior=prior,
        object=rows,
        boxes=boxes[starts[frame] + rows],
        ids=matches.ids[frame, prior],
        weights=1.0 / counts[frame].float(),
        ends=tuple(counts.cumsum(0).tolist()),
    )
