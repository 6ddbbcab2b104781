"""Official files, training checkpoints and detectors' backbones ↔ modules, strict (spec 6, 6.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from stemseg.config import Config, load_config, merge
from stemseg.model.fpn import Backbone
from stemseg.model.network import STEmSeg
from vidseg_common.checkpoint import (
    load_checkpoint,
    load_strict,
    save_atomic,
    shapes_of,
    strip_prefix,
)
from vidseg_common.errors import CheckpointError, ConfigError

Variants = Callable[[], Mapping[str, Mapping[str, tuple[int, ...]]]]

#: Published model to its configuration.
PUBLISHED = {"davis": "davis_2", "youtube_vis": "youtube_vis", "kitti_mots": "kitti_mots_2"}
#: Keys that a detector's file may hold next to body and pyramid, of parts this method lacks.
BACKBONE_PARTS = ("body.", "fpn.")


def build_network(cfg: Config) -> STEmSeg:
    """A network with random weights.

    Raises:
        ConfigError: the configuration has a value for which there is no network.
    """
    try:
        return STEmSeg(cfg)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def load_state(path: str | Path) -> dict[str, Tensor]:
    """Reads the network's tensors out of an official file or a training checkpoint.

    Accepted: `{"model": state dict, ...}`, of which everything else is ignored, or the state dict
    itself (also a safetensors file), keys with a `module.` prefix in either.

    Raises:
        CheckpointError: missing, truncated or foreign file, or one that carries code.
    """
    content = load_checkpoint(path)
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(
            f'{path}: expected {{"model": state dict}}, holds {type(content).__name__}'
        )
    foreign = [
        str(key)
        for key, value in content.items()
        if not isinstance(key, str) or not isinstance(value, Tensor)
    ]
    if foreign:
        raise CheckpointError(
            f"{path}: not a state dict of STEm-Seg: entry {foreign[0]!r} is no named tensor "
            f"({len(foreign)} such entries)"
        )
    return strip_prefix(dict(content), "module.")


def load_network(path: str | Path, cfg: Config, *, device: str | torch.device = "cpu") -> STEmSeg:
    """Loads a network for inference, in eval mode.

    Args:
        path: see `load_state`.
        cfg: the configuration that the file was trained with.
        device: where the network is to live.

    Raises:
        CheckpointError: the file cannot be read or does not fit; the message has a table of keys
            and the published model that would fit.
        ConfigError: as `build_network`.
    """
    network = build_network(cfg)
    load_weights(network, path)
    return network.to(device).eval()


def load_weights(network: STEmSeg, path: str | Path) -> None:
    """`--initial_ckpt`: the weights of a file into a network, strictly.

    Raises:
        CheckpointError: as `load_network`.
    """
    _fill(network, load_state(path), path, variant_shapes)


def load_backbone(path: str | Path, network: STEmSeg) -> None:
    """The pre-trained backbone into a network to be trained (spec 6.5).

    Args:
        path: a file of the keys `body.*` and `fpn.*`, or any that `convert_detector` accepts.
        network: its backbone is filled.

    Raises:
        CheckpointError: the file cannot be read or does not fit.
    """
    _fill(network.backbone, convert_detector(load_state(path)), path, backbone_shapes)


def convert_detector(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone out of a detector's state dict.

    Keys may be `body.*` and `fpn.*`, the same under `backbone.`, or under `module.`; other parts
    of the detector are dropped.

    Raises:
        CheckpointError: there is no backbone in it.
    """
    state = strip_prefix(dict(state), "module.")
    if any(key.startswith("backbone.") for key in state):
        state = {
            key.removeprefix("backbone."): value
            for key, value in state.items()
            if key.startswith("backbone.")
        }
    found = {key: value for key, value in state.items() if key.startswith(BACKBONE_PARTS)}
    if not found:
        shown = ", ".join(sorted({key.split(".")[0] for key in state})[:6])
        raise CheckpointError(f"no backbone (body.*, fpn.*) among the keys; they are of {shown}")
    return found


def convert_detector_file(source: str | Path, target: str | Path) -> int:
    """Writes the backbone file that training starts from out of a detector's file.

    Args:
        source: the detector, of the caffe kind: stride in the 1x1 convolutions, BGR, mean only.
        target: the file to write, a flat state dict.

    Returns:
        The number of keys written.

    Raises:
        CheckpointError: there is no backbone in the file, or it is none of R-101 or R-50 with FPN.
    """
    state = convert_detector(load_state(source))
    kind = "R-101-FPN" if any(".layer3.22." in key for key in state) else "R-50-FPN"
    backbone = Backbone(_backbone_config(kind).MODEL)
    _fill(backbone, state, source, backbone_shapes)
    ordered = backbone.state_dict()
    save_atomic(ordered, target)
    return len(ordered)


def variant_shapes() -> dict[str, dict[str, tuple[int, ...]]]:
    """Keys and shapes of the published models, to say which one a file would fit."""
    with torch.device("meta"):
        return {
            name: shapes_of(STEmSeg(load_config(config)).state_dict())
            for name, config in PUBLISHED.items()
        }


def backbone_shapes() -> dict[str, dict[str, tuple[int, ...]]]:
    """Keys and shapes of the published backbones."""
    with torch.device("meta"):
        return {
            f"backbone {kind}": shapes_of(Backbone(_backbone_config(kind).MODEL).state_dict())
            for kind in ("R-101-FPN", "R-50-FPN")
        }


def _fill(
    module: nn.Module, state: Mapping[str, Tensor], path: str | Path, variants: Variants
) -> None:
    """Loads strictly; the variants are only needed for the message of a file that does not fit."""
    fits = shapes_of(state) == shapes_of(module.state_dict())
    load_strict(module, state, source=str(path), variants={} if fits else variants())


def _backbone_config(kind: str) -> Config:
    return merge(Config(), {"MODEL": {"BACKBONE": {"TYPE": kind}}})
