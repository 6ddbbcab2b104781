"""Where a training starts: a COCO detector, an ImageNet backbone, or nothing (spec 10.4)."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from vidseg_common.checkpoint import load_checkpoint, strip_prefix
from vidseg_common.errors import CheckpointError

if TYPE_CHECKING:
    from stmask.model.network import STMask

#: Deformable layers start at zero offsets whatever the file lacks, or they would sample anywhere.
OFFSETS = "conv_offset_mask"


@dataclass(frozen=True)
class CocoReport:
    """What became of every tensor.

    Attributes:
        taken: keys copied from the file.
        dropped: keys of the file that no tensor of that shape is for.
        initialised_xavier_uniform: weights drawn anew.
        initialised_zero: biases set to zero, or to the prior of the focal loss.
        left_as_constructed: all others.
    """

    taken: tuple[str, ...]
    dropped: tuple[str, ...]
    initialised_xavier_uniform: tuple[str, ...]
    initialised_zero: tuple[str, ...]
    left_as_constructed: tuple[str, ...]

    def text(self) -> str:
        """One line for a terminal."""
        drawn = len(self.initialised_xavier_uniform) + len(self.initialised_zero)
        return f"{len(self.taken)} tensors taken, {len(self.dropped)} dropped, {drawn} initialised"


def load_coco_start(
    path: str | Path, network: STMask, *, focal_init_pi: float | None = None
) -> CocoReport:
    """Takes every tensor whose name and shape match; the rest is initialised.

    Args:
        path: a YOLACT++ file trained on COCO, the authors' own with calibrated heads, or a
            backbone trained on ImageNet (keys like `layer1.0.conv1.weight`).
        network: filled in place.
        focal_init_pi: with the focal loss, the foreground probability that class biases start
            with.

    Raises:
        CheckpointError: the file cannot be read, or nothing of it fits.
    """
    content = load_checkpoint(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path}: expected a mapping of name to tensor, holds {type(content).__name__}"
        )
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    source = as_detector(strip_prefix(tensors, "module."))
    needed = network.state_dict()
    taken = [k for k, v in source.items() if k in needed and v.shape == needed[k].shape]
    if not any(key.endswith("weight") for key in taken):
        shown = ", ".join(list(source)[:3]) or "no tensors"
        raise CheckpointError(
            f"{path}: nothing in it fits the network; expected a YOLACT++ detector or a backbone, "
            f"it has {shown}"
        )
    network.load_state_dict({**needed, **{key: source[key] for key in taken}})
    dropped = tuple(key for key in source if key not in set(taken))
    if any(OFFSETS in key for key in dropped):
        warnings.warn(
            f"{path}: deformable layers of blocks that are ordinary here lose their offsets, masks "
            "and biases; what these have learnt is lost",
            stacklevel=2,
        )
    return _initialise(network, set(taken), dropped, focal_init_pi)


def start_from_nothing(network: STMask, *, focal_init_pi: float | None = None) -> CocoReport:
    """Initialises everything behind the backbone, which stays as it was constructed.

    Args:
        network: changed in place.
        focal_init_pi: as for `load_coco_start`.
    """
    kept = {key for key in network.state_dict() if key.startswith("backbone.")}
    report = _initialise(network, kept, (), focal_init_pi)
    return CocoReport(
        (), (), report.initialised_xavier_uniform, report.initialised_zero, tuple(sorted(kept))
    )


def as_detector(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys of a bare backbone file renamed to those of a detector; others stay as they are."""
    if any(key.startswith("backbone.") for key in state):
        return dict(state)
    renamed = {}
    for key, value in state.items():
        name = re.sub(r"^layer(\d)\.", lambda m: f"layers.{int(m[1]) - 1}.", key)
        renamed[f"backbone.{name}"] = value
    return renamed


def _initialise(
    network: STMask, taken: set[str], dropped: tuple[str, ...], focal_init_pi: float | None
) -> CocoReport:
    xavier, zero, left = [], [], []
    parameters = dict(network.named_parameters())
    for name in network.state_dict():
        if name in taken:
            continue
        value = parameters.get(name)
        if value is None or OFFSETS in name:
            left.append(name)
        elif name.endswith("weight") and value.dim() > 1:
            nn.init.xavier_uniform_(value)
            xavier.append(name)
        elif name.endswith("bias"):
            nn.init.zeros_(value)
            zero.append(name)
        else:
            left.append(name)
    if focal_init_pi is not None:
        _set_class_priors(parameters, set(zero), focal_init_pi, network.settings.num_classes)
    return CocoReport(tuple(sorted(taken)), dropped, tuple(xavier), tuple(zero), tuple(left))


def _set_class_priors(
    parameters: Mapping[str, nn.Parameter], fresh: set[str], pi: float, num_classes: int
) -> None:
    """Foreground outputs of the class layers start at probability pi, as the focal loss needs."""
    for name in fresh:
        if ".conf_layer." in name:
            biases = parameters[name].data.view(-1, num_classes)
            biases[:, 1:] = -math.log((1 - pi) / pi)
