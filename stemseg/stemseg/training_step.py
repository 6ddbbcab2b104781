"""From a batch to its losses: the part of a training step that precedes the optimiser."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stemseg.config import Config
from stemseg.data.collate import Batch
from stemseg.losses import STEmSegLoss
from stemseg.model.network import HeadOutputs, STEmSeg
from stemseg.targets import make_targets, upsample_heads


class MixedPrecision(nn.Module):
    """A network whose forward pass runs in half precision where that is safe.

    On CPUs the decoders stay in float32: there the bf16 weight gradient of a 3x3x3 convolution over
    two frames reads memory that nobody wrote (oneDNN, seen with PyTorch 2.14).

    Args:
        network: to be trained.
        dtype: half precision; None for float32 everywhere.
    """

    def __init__(self, network: STEmSeg, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype

    def forward(self, frames: Tensor) -> HeadOutputs:
        """Clips (N, T, 3, H, W) to the maps of all heads."""
        if self.dtype is None:
            return self.network(frames)
        kind = frames.device.type
        with torch.autocast(kind, dtype=self.dtype):
            features = self.network.encode(frames)
            if kind != "cpu":
                return self.network.decode(features)
        return self.network.decode([maps.float() for maps in features])


def clip_losses(
    model: nn.Module, loss: STEmSegLoss, batch: Batch, cfg: Config
) -> dict[str, Tensor]:
    """Losses of a batch; targets and losses are in float32.

    Args:
        model: gives `HeadOutputs` of clips.
        loss: of the configuration.
        batch: on the device of the model.
        cfg: the configuration.
    """
    heads = model(batch.images)
    full = cfg.TRAINING.LOSS_AT_FULL_RES
    if full:
        heads = upsample_heads(heads)
    targets = make_targets(
        [target.masks for target in batch.targets],
        [target.ignore_masks for target in batch.targets],
        [target.category_ids for target in batch.targets],
        full_resolution=full,
    )
    return loss(heads, targets)
