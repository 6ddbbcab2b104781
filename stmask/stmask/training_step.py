"""From a batch to its losses: the part of a training step that precedes the optimiser."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stmask.losses import FrameTargets, MultiBoxLoss
from stmask.model.network import STMask


class TrainingStep(nn.Module):
    """The network with its losses, as one module that several processes can share.

    Args:
        network: to be trained.
        loss: of the configuration; it may be exchanged.
        dtype: half precision of the network; None for float32. Losses are always in float32.
        train_bn: batch norm normalises by its batch and is trained; otherwise it is frozen.
    """

    def __init__(
        self,
        network: STMask,
        loss: MultiBoxLoss,
        dtype: torch.dtype | None = None,
        *,
        train_bn: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.dtype = dtype
        self.train_bn = train_bn
        self.train()

    def train(self, mode: bool = True) -> TrainingStep:
        """Switches to training, with batch norm as asked for at the start."""
        super().train(mode)
        if not self.train_bn:
            freeze_batch_norm(self.network)
        return self

    def forward(self, frames: Tensor, targets: Sequence[FrameTargets]) -> dict[str, Tensor]:
        """Losses of frames (B, 3, H, W), those of a clip next to each other."""
        with torch.autocast(frames.device.type, self.dtype, enabled=self.dtype is not None):
            raw = self.network(frames)
            return self.loss(raw, targets, self.network)


def freeze_batch_norm(network: nn.Module) -> None:
    """Lets batch norm use its running statistics, and takes its parameters out of the training."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().requires_grad_(False)
