"""What predictions are compared with, and which prediction belongs to what."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Target(NamedTuple):
    """The instances of an image, or of a clip: instance after instance, frame after frame.

    Attributes:
        labels: (n) outputs of the class head, from 0.
        boxes: (n, 4) centre, width and height in 0 to 1.
        masks: (n, H, W) bool; None where masks are not trained.
        valid: (n) false in frames where an instance is not; None: it is in all.
    """

    labels: Tensor
    boxes: Tensor
    masks: Tensor | None = None
    valid: Tensor | None = None

    def is_valid(self) -> Tensor:
        """(n) bool."""
        if self.valid is None:
            return torch.ones_like(self.labels, dtype=torch.bool)
        return self.valid.bool()


class Match(NamedTuple):
    """Which predictions of an image or clip belong to which entries of its target.

    Attributes:
        prediction: (m) numbers of queries.
        target: (m) numbers of entries.
        valid: (m) bool; an entry that is not valid says that there is nothing.
    """

    prediction: Tensor
    target: Tensor
    valid: Tensor


def match_of_image(rows: Tensor, columns: Tensor, target: Target) -> Match:
    """From the assignment of queries (rows) to instances (columns)."""
    return Match(rows, columns, target.is_valid()[columns])


def match_of_clip(
    slots: Tensor, instances: Tensor, target: Target, shape: tuple[int, int]
) -> Match:
    """From the assignment of instance slots to instances; without any, slot 0 has nothing.

    Args:
        slots: (p) instance slots.
        instances: (p) numbers of instances.
        target: of the clip.
        shape: T and Q.
    """
    num_frames, per_frame = shape
    frames = torch.arange(num_frames, device=slots.device)
    if not len(target.labels):
        return Match(frames * per_frame, frames, torch.zeros_like(frames, dtype=torch.bool))
    prediction = (frames * per_frame + slots[:, None]).flatten()
    entries = (instances[:, None] * num_frames + frames).flatten()
    return Match(prediction, entries, target.is_valid()[entries])
