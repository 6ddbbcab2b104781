"""Official files, resume files and our own exports ↔ modules, strict both ways (spec 1.1, 6.2)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from stcn.model.network import STCN, NetworkConfig
from vidseg_common.checkpoint import (
    load_checkpoint,
    load_strict,
    save_atomic,
    save_safetensors,
    strip_prefix,
)
from vidseg_common.errors import CheckpointError

MASK_CONV = "value_encoder.conv1.weight"

#: Structures with a name, for messages: which one would a file fit?
VARIANTS = {
    "official (several objects)": NetworkConfig(),
    "stage 0 (one object)": NetworkConfig(others_channel=False),
    "without CBAM": NetworkConfig(cbam=False),
}


def load_state(path: str | Path) -> dict[str, Tensor]:
    """Reads the network's tensors out of any container that STCN's files come in.

    Accepted: a bare state dict (every published file), the resume file `*_checkpoint.pth`
    ({"it", "network", "optimizer", "scheduler"}), {"state_dict": ...}, keys with a `module.`
    prefix, and our safetensors export.

    Raises:
        CheckpointError: missing, truncated or foreign file, or one that carries code.
    """
    content = load_checkpoint(path)
    if isinstance(content, Mapping):
        for wrapper in ("network", "state_dict"):
            if isinstance(content.get(wrapper), Mapping):
                content = content[wrapper]
                break
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path}: holds {type(content).__name__}, expected a state dict")
    foreign = [
        key
        for key, value in content.items()
        if not isinstance(key, str) or not isinstance(value, Tensor)
    ]
    if foreign:
        raise CheckpointError(
            f"{path}: not a state dict of STCN: entry {foreign[0]!r} is no named tensor "
            f"({len(foreign)} such entries)"
        )
    return strip_prefix(dict(content), "module.")


def infer_config(state: Mapping[str, Tensor]) -> NetworkConfig:
    """The network structure that a state dict was saved from, read off its shapes.

    Raises:
        KeyError: an entry that every variant has is missing.
    """

    def out_channels(key: str) -> int:
        return state[key].shape[0]

    def depth(prefix: str) -> int:
        pattern = re.compile(re.escape(prefix) + r"\.(\d+)\.")
        return 1 + max(int(m[1]) for m in map(pattern.match, state) if m)

    key_stages = [f"key_encoder.{name}" for name in ("res2", "layer2", "layer3")]
    value_stages = [f"value_encoder.layer{i}" for i in (1, 2, 3)]
    bottleneck = "key_encoder.res2.0.conv3.weight" in state
    return NetworkConfig(
        others_channel=state[MASK_CONV].shape[1] == 5,
        cbam=any(key.startswith("value_encoder.fuser.attention.") for key in state),
        key_block="bottleneck" if bottleneck else "basic",
        key_stem=out_channels("key_encoder.conv1.weight"),
        key_widths=_triple([out_channels(f"{s}.0.conv1.weight") for s in key_stages]),
        key_depths=_triple([depth(s) for s in key_stages]),
        value_widths=_triple([out_channels(f"{s}.0.conv1.weight") for s in value_stages]),
        value_depths=_triple([depth(s) for s in value_stages]),
        key_dim=out_channels("key_proj.key_proj.weight"),
        value_dim=out_channels("value_encoder.fuser.block2.conv2.weight"),
        thin_dim=out_channels("key_comp.weight"),
        decoder_widths=_triple(
            [
                out_channels("decoder.compress.conv2.weight"),
                out_channels("decoder.up_16_8.out_conv.conv2.weight"),
                out_channels("decoder.up_8_4.out_conv.conv2.weight"),
            ]
        ),
    )


def load_network(
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    config: NetworkConfig | None = None,
) -> STCN:
    """Loads a network for evaluation, in eval mode.

    A stage-0 file gets a channel of zeros for the mask of the other objects (spec section 5),
    unless `config` has no such channel. Weights stored in half precision become float32.

    Args:
        path: see `load_state`.
        device: where the network is to live.
        config: the structure that the file must have; None reads it off the file.

    Raises:
        CheckpointError: the file cannot be read or does not fit, with a table of its keys.
    """
    state = _as_float32(load_state(path))
    if config is None or config.others_channel:
        state = add_others_channel(state, init="zeros")
    if config is None:
        try:
            config = infer_config(state)
        except (KeyError, ValueError, IndexError):
            config = NetworkConfig()  # strict loading below lists everything that differs
    network = STCN(config)
    load_strict(network, state, source=str(path), variants=variant_shapes())
    return network.to(device).eval()


def load_for_training(network: STCN, path: str | Path) -> None:
    """`--load_network`: weights of an earlier stage into a network to be trained (spec 6.2).

    Raises:
        CheckpointError: as `load_network`.
    """
    state = load_state(path)
    if network.config.others_channel:
        state = add_others_channel(state, init="orthogonal")
    load_strict(network, state, source=str(path), variants=variant_shapes())


def add_others_channel(state: dict[str, Tensor], *, init: str) -> dict[str, Tensor]:
    """Widens a stage-0 mask convolution from 4 to 5 input channels; other states pass through.

    Args:
        state: of the network.
        init: "zeros" (evaluation) or "orthogonal" (training).
    """
    weight = state.get(MASK_CONV)
    if weight is None or weight.dim() != 4 or weight.shape[1] != 4:
        return state
    extra = weight.new_zeros((weight.shape[0], 1, *weight.shape[2:]))
    if init == "orthogonal":
        nn.init.orthogonal_(extra)
    return {**state, MASK_CONV: torch.cat([weight, extra], 1)}


def export(network: STCN, path: str | Path, *, dtype: torch.dtype | None = None) -> None:
    """Writes the weights for others to use: `.safetensors` with the structure, else `.pth`.

    Args:
        network: as trained, batch norm not folded.
        path: the suffix decides the container.
        dtype: storage type of the floating-point weights, e.g. float16 for half the size.
    """
    state = {
        key: value.to(dtype) if dtype is not None and value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }
    if str(path).endswith(".safetensors"):
        metadata = {"method": "stcn", "network": json.dumps(asdict(network.config))}
        save_safetensors(state, path, metadata)
    else:
        save_atomic(state, path)


def _as_float32(state: dict[str, Tensor]) -> dict[str, Tensor]:
    half = (torch.float16, torch.bfloat16)
    return {k: v.float() if v.dtype in half else v for k, v in state.items()}


def variant_shapes() -> dict[str, dict[str, tuple[int, ...]]]:
    """Keys and shapes of every named structure, to say which one a file would fit."""
    with torch.device("meta"):
        return {
            name: {key: tuple(value.shape) for key, value in STCN(config).state_dict().items()}
            for name, config in VARIANTS.items()
        }


def _triple(values: list[int]) -> tuple[int, int, int]:
    first, second, third = values
    return first, second, third
