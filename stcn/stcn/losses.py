"""Training losses: bootstrapped cross entropy and the sums behind the logged IoU.

Source: method specification section 6.8; Space-Time Correspondence Networks
(arXiv 2106.05210), section 4.

Axes: B batch, T frames of a sample (3), C classes (background and objects), H, W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

#: A mask covers a pixel when its probability is above this.
MASK_THRESHOLD = 0.5


@dataclass(frozen=True)
class BootstrapSchedule:
    """How large a share of the hardest pixels counts at an iteration.

    All pixels up to ``start``, then linearly fewer until only ``final_fraction`` is left at
    ``end``. The defaults are those of the published training.
    """

    start: int = 20_000
    end: int = 70_000
    final_fraction: float = 0.15

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError(f"end ({self.end}) must lie after start ({self.start})")
        if not 0.0 < self.final_fraction <= 1.0:
            raise ValueError(f"final_fraction must lie in (0, 1], got {self.final_fraction}")

    def fraction(self, iteration: int) -> float:
        """Return the share of pixels p in (0, 1] that counts at ``iteration``."""
        if iteration < self.start:
            return 1.0
        if iteration > self.end:
            return self.final_fraction
        left = (self.end - iteration) / (self.end - self.start)
        return self.final_fraction + (1.0 - self.final_fraction) * left


def bootstrapped_cross_entropy(logits: Tensor, target: Tensor, fraction: float) -> Tensor:
    """Return the mean cross entropy of the hardest pixels of every sample.

    Args:
        logits: (B, C, H, W) class scores.
        target: (B, H, W) int64 class of every pixel, in 0..C-1.
        fraction: share of the pixels that counts, in (0, 1]; 1 is the plain mean. At least one
            pixel always counts.

    Returns:
        (B,) float32 losses.
    """
    # B, H*W
    pixel_loss = F.cross_entropy(logits.float(), target, reduction="none").flatten(1)
    if fraction >= 1.0:
        return pixel_loss.mean(dim=1)
    num_hard = max(int(pixel_loss.shape[1] * fraction), 1)
    hardest, _ = pixel_loss.topk(num_hard, dim=1, sorted=False)
    return hardest.mean(dim=1)


def mask_missing_object(logits: Tensor, selector: Tensor | None) -> Tensor:
    """Take the second object out of the classes of the samples that have none.

    A score of minus infinity leaves the loss and the gradients of the other classes exactly as
    if the channel did not exist, so that a mixed batch needs no loop over its samples.

    Args:
        logits: (B, C, H, W); C = 2 (background, object) is returned as it is.
        selector: (B, 2), 1 where the object exists; None when all do.
    """
    if selector is None or logits.shape[1] < 3:
        return logits
    missing = selector[:, 1].to(logits.device) < 0.5  # B
    absent = torch.zeros(logits.shape[:2], dtype=torch.bool, device=logits.device)  # B, C
    absent[:, 2] = missing
    return logits.masked_fill(absent[:, :, None, None], float("-inf"))


class SequenceLoss:
    """The loss of a training sample: every frame after the given first one counts.

    Args:
        schedule: bootstrapping by iteration.
    """

    def __init__(self, schedule: BootstrapSchedule | None = None) -> None:
        self.schedule = schedule or BootstrapSchedule()

    def __call__(
        self,
        logits: Sequence[Tensor],
        cls_gt: Tensor,
        selector: Tensor | None,
        iteration: int,
    ) -> dict[str, Tensor]:
        """Return the losses of one batch.

        Args:
            logits: one (B, C, H, W) tensor for each frame after the first, before the softmax;
                C = 3 with two objects, 2 with one.
            cls_gt: (B, T, H, W) int64, T = len(logits) + 1; 0 background, 1 target, 2 second
                object. Where the selector says that there is no second object, 2 must not occur.
            selector: (B, 2) which objects exist, or None when all do.
            iteration: number of the iteration, for the schedule.

        Returns:
            Scalars ``loss_1`` ... (one a frame, mean over the batch), ``total_loss`` (their sum,
            the one to differentiate) and ``p`` (the share of pixels that counted).
        """
        if cls_gt.shape[1] != len(logits) + 1:
            raise ValueError(
                f"{len(logits)} predicted frames need {len(logits) + 1} labelled ones, "
                f"got {cls_gt.shape[1]}"
            )
        fraction = self.schedule.fraction(iteration)
        losses: dict[str, Tensor] = {}
        total = cls_gt.new_zeros((), dtype=torch.float32)
        for frame_idx, frame_logits in enumerate(logits, start=1):
            visible = mask_missing_object(frame_logits, selector)
            per_sample = bootstrapped_cross_entropy(visible, cls_gt[:, frame_idx], fraction)
            losses[f"loss_{frame_idx}"] = per_sample.mean()
            total = total + losses[f"loss_{frame_idx}"]
        losses["total_loss"] = total
        losses["p"] = total.new_tensor(fraction)
        return losses


@torch.no_grad()
def iou_sums(masks: Sequence[Tensor], gt: Tensor) -> tuple[Tensor, Tensor]:
    """Return pixels in the intersection and in the union, summed over frames and samples.

    Args:
        masks: one (B, 1, H, W) probability map for each frame after the first.
        gt: (B, T, 1, H, W) ground truth, T = len(masks) + 1.

    Returns:
        Two float64 scalars, so that sums of many batches stay exact.
    """
    predicted = torch.stack(list(masks), dim=1) > MASK_THRESHOLD  # B, T-1, 1, H, W
    wanted = gt[:, 1:] > MASK_THRESHOLD
    intersection = (predicted & wanted).sum().double()
    union = (predicted | wanted).sum().double()
    return intersection, union


def iou_from_sums(sums: Mapping[str, float], prefix: str = "") -> float:
    """Return the logged IoU of accumulated sums.

    Args:
        sums: holds ``<prefix>i`` and ``<prefix>u``: pixels of intersection and union.
        prefix: "" for the target, "sec_" for the second object.
    """
    return (sums[f"{prefix}i"] + 1.0) / (sums[f"{prefix}u"] + 1.0)
