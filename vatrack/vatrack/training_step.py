"""From a batch to its losses: the part of a training step that precedes the optimiser."""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator, Tensor, nn

from vatrack.losses.batch import TrainingBatch
from vatrack.losses.settings import LossSettings
from vatrack.losses.training import training_losses
from vatrack.model.network import VATrackNet


class TrainingStep(nn.Module):
    """The network with its losses, as one module that several processes can share.

    Args:
        network: to be trained.
        settings: of the losses.
        dtype: half precision of the network; None for float32. Losses are always in float32.
    """

    def __init__(
        self, network: VATrackNet, settings: LossSettings, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.network, self.settings, self.dtype = network, settings, dtype
        self.train()

    def forward(self, batch: TrainingBatch, generator: Generator) -> dict[str, Tensor]:
        """Losses and accuracies of a batch on the network's device."""
        with torch.autocast(batch.images.device.type, self.dtype, enabled=self.dtype is not None):
            return training_losses(self.network, batch, self.settings, generator)


def step_generator(seed: int, iteration: int, rank: int) -> Generator:
    """The random choices of one step in one process: a resumed training makes the same ones."""
    state = np.random.SeedSequence([seed, iteration, rank]).generate_state(2)
    return Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)
