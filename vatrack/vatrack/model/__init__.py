"""The networks: nn.Modules on torch and torchvision only."""

from vatrack.model.network import VATrackNet, build
from vatrack.model.settings import ModelSettings

__all__ = ["ModelSettings", "VATrackNet", "build"]
