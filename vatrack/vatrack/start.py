"""Where a training starts: a detector trained on COCO, an ImageNet backbone, nothing (spec 5.3)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torchvision.models import ResNet50_Weights

from vatrack.checkpoint import read_checkpoint
from vatrack.model.network import VATrackNet
from vidseg_common.errors import CheckpointError
from vidseg_common.hub_file import hub_file

#: Begins the name of a backbone that torchvision offers.
TORCHVISION = "torchvision://"
_ADDRESSES = {"resnet50": ResNet50_Weights.IMAGENET1K_V1.url}
_BACKBONE = "backbone."


@dataclass(frozen=True)
class StartReport:
    """What became of the tensors of a file.

    Attributes:
        source: the file.
        taken: keys that were copied.
        other_shape: keys of the network that have another shape in the file.
        unknown: keys of the file that the network has not.
        left: keys of the network that the file has not.
    """

    source: str
    taken: tuple[str, ...]
    other_shape: tuple[str, ...]
    unknown: tuple[str, ...]
    left: tuple[str, ...]

    def text(self) -> str:
        """One line for the log."""
        parts = [f"{len(self.taken)} tensors taken"]
        parts += [f"{len(self.other_shape)} of another shape"] if self.other_shape else []
        parts += [f"{len(self.unknown)} not part of this network"] if self.unknown else []
        parts += [f"{len(self.left)} left as initialised"] if self.left else []
        return f"{self.source}: {', '.join(parts)}"


def load_start(network: VATrackNet, source: str, *, into_backbone: bool = False) -> StartReport:
    """Takes every tensor whose name and shape match.

    Args:
        network: initialised; filled in place.
        source: a detector, a backbone (keys like `layer1.0.conv1.weight`), or
            "torchvision://resnet50".
        into_backbone: only the backbone is to be filled.

    Raises:
        CheckpointError: the file cannot be read, or no weight of it fits.
        DownloadError: weights of torchvision are not at hand and cannot be fetched.
    """
    state = _read(source)
    if not any(key.startswith(_BACKBONE) for key in state):
        state = {_BACKBONE + key: value for key, value in state.items()}
    if into_backbone:
        state = {key: value for key, value in state.items() if key.startswith(_BACKBONE)}
    needed = network.state_dict()
    known = [key for key in state if key in needed]
    taken = [key for key in known if state[key].shape == needed[key].shape]
    if not any(key.endswith("weight") and state[key].dim() > 1 for key in taken):
        shown = ", ".join(list(state)[:3]) or "no tensors"
        raise CheckpointError(
            f"{source}: no weight in it fits the network; expected a Mask R-CNN or a backbone of "
            f"this depth, it has {shown}"
        )
    network.load_state_dict({**needed, **{key: state[key] for key in taken}})
    other = set(known) - set(taken)
    return StartReport(
        source,
        tuple(taken),
        tuple(key for key in known if key in other),
        tuple(key for key in state if key not in needed),
        tuple(key for key in needed if key not in state),
    )


def _read(source: str) -> dict[str, Tensor]:
    if not source.startswith(TORCHVISION):
        return read_checkpoint(source).state
    name = source.removeprefix(TORCHVISION)
    if name not in _ADDRESSES:
        known = ", ".join(f"{TORCHVISION}{key}" for key in _ADDRESSES)
        raise CheckpointError(f"{source}: no such weights of torchvision; there are {known}")
    return read_checkpoint(hub_file(_ADDRESSES[name])).state
