"""How the predictor runs a network: in which form and number format."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from stmask.inference.memory import TemporalModel
from stmask.model.deployed import DeployedNetwork, Timer, can_deploy, untimed
from stmask.model.network import RawOutputs, STMask
from vidseg_common.errors import ConfigError


class FrameNetwork(TemporalModel, Protocol):
    """A network for inference: predictions of frames, and motion between two of them."""

    def __call__(self, images: Tensor) -> RawOutputs[Any]:
        """Normalised RGB images (B, 3, H, W) to raw predictions, float32."""
        ...


class AutocastNetwork:
    """A network whose convolutions and products run in a shorter number format.

    Args:
        network: in eval mode.
        dtype: bfloat16, or on a GPU float16.
    """

    def __init__(self, network: STMask, dtype: torch.dtype) -> None:
        self.network = network
        self._dtype = dtype
        self._kind = next(network.parameters()).device.type

    def __call__(self, images: Tensor) -> RawOutputs[Tensor]:
        """See `FrameNetwork`."""
        with torch.autocast(self._kind, self._dtype):
            return self.network(images)

    def temporal_features(
        self, previous: Tensor, current: Tensor, previous_t2s: Tensor, current_t2s: Tensor
    ) -> Tensor:
        """See `TemporalModel`."""
        with torch.autocast(self._kind, self._dtype):
            return self.network.temporal_features(previous, current, previous_t2s, current_t2s)

    def TemporalNet(self, features: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N802
        """See `TemporalModel`."""
        with torch.autocast(self._kind, self._dtype):
            return self.network.TemporalNet(features)


def deploy(
    network: STMask, dtype: torch.dtype = torch.float32, *, timer: Timer = untimed
) -> FrameNetwork:
    """The network as the predictor runs it.

    Args:
        network: in eval mode, on its device; it is not changed.
        dtype: number format; anything but float32 is less exact.
        timer: gives the context in which a named part runs, where the form knows its parts.

    Raises:
        ConfigError: the device cannot compute in that format.
    """
    device = next(network.parameters()).device
    if dtype == torch.float16 and device.type == "cpu":
        raise ConfigError("float16 needs a GPU; on a CPU use bfloat16 or float32")
    if can_deploy(network):
        return DeployedNetwork(network, dtype, timer=timer)
    return network if dtype == torch.float32 else AutocastNetwork(network, dtype)
