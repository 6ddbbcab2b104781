"""From a batch to its losses: the part of a training step that precedes the optimiser."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from stemseg.config import Config
from stemseg.data.collate import Batch
from stemseg.losses import STEmSegLoss
from stemseg.targets import make_targets, upsample_heads


def clip_losses(
    model: nn.Module,
    loss: STEmSegLoss,
    batch: Batch,
    autocast: AbstractContextManager[Any],
    cfg: Config,
) -> dict[str, Tensor]:
    """Losses of a batch: the network under `autocast`, targets and losses in float32.

    Args:
        model: gives `HeadOutputs` of clips.
        loss: of the configuration.
        batch: on the device of the model.
        autocast: precision of the network.
        cfg: the configuration.
    """
    with autocast:
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
