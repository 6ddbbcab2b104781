"""From a batch to its losses: the part of a training step that precedes the optimiser."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from devis.losses import LossSettings, Target, total_loss
from devis.matched import forward_matched

#: Name of the weighted sum among the losses.
TOTAL = "loss"


class TrainingStep(nn.Module):
    """The network with its losses, as one module that several processes can share.

    Args:
        network: to be trained.
        settings: of the losses.
        dtype: half precision of the network; None for float32. Losses are always in float32.
    """

    def __init__(
        self, network: nn.Module, settings: LossSettings, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.network, self.settings, self.dtype = network, settings, dtype
        self.train()

    def forward(
        self, images: Tensor, padding: Tensor | None, targets: Sequence[Target], num_boxes: float
    ) -> dict[str, Tensor]:
        """Losses of images, or of the frames of a clip.

        Args:
            images: (B, 3, H, W).
            padding: (B, H, W), True on padding; None: there is none.
            targets: of B images, or of one clip.
            num_boxes: what sums over entries are divided by.

        Returns:
            The total (`TOTAL`), every term without its weight, and `class_error`.
        """
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype is not None):
            matched = forward_matched(self.network, images, padding, targets, self.settings)
        losses = matched.losses(targets, num_boxes, self.settings)
        return {TOTAL: total_loss(losses, self.settings), **losses}
