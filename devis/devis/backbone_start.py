"""Backbones start from weights trained on ImageNet (spec 5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, ResNet101_Weights

from vidseg_common.checkpoint import load_checkpoint, strip_prefix
from vidseg_common.errors import CheckpointError, ConfigError
from vidseg_common.hub_file import hub_file

#: Word that keeps the random weights of a backbone.
RANDOM = "none"
#: Part of the names that belongs to the backbone.
BODY = "backbone.0.body."
_SWIN = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0"
#: Backbone to the file it starts from.
FILES: Mapping[str, str] = {
    "resnet50": ResNet50_Weights.IMAGENET1K_V1.url,
    "resnet101": ResNet101_Weights.IMAGENET1K_V1.url,
    "swin_t_p4w7": f"{_SWIN}/swin_tiny_patch4_window7_224.pth",
    "swin_s_p4w7": f"{_SWIN}/swin_small_patch4_window7_224.pth",
    "swin_b_p4w7": f"{_SWIN}/swin_base_patch4_window7_224_22k.pth",
    "swin_l_p4w7": f"{_SWIN}/swin_large_patch4_window7_224_22k.pth",
    "swin_l_p4w12": f"{_SWIN}/swin_large_patch4_window12_384_22k.pth",
}


def start_backbone(network: nn.Module, name: str, file: Path | None = None) -> str:
    """Copies ImageNet weights into the backbone.

    Args:
        network: of any family, changed in place.
        name: of the backbone.
        file: with the weights; None takes the usual file from torch's cache, fetched on first use.

    Returns:
        One line for a terminal.

    Raises:
        ConfigError: there is no usual file for this backbone.
        DownloadError: the usual file is not there and cannot be fetched.
        CheckpointError: the file is of another network.
    """
    if file is None and name not in FILES:
        raise ConfigError(
            f"MODEL.BACKBONE {name}: there are no ImageNet weights of it; start from random ones "
            f"with --backbone-weights {RANDOM}"
        )
    path = file or hub_file(FILES[name])
    content = load_checkpoint(path)
    inner = content.get("model") if isinstance(content, Mapping) else None
    given = inner if isinstance(inner, Mapping) else content
    if not isinstance(given, Mapping):
        raise CheckpointError(f"{path}: expected a mapping of name to tensor")
    tensors = {str(key): value for key, value in given.items() if isinstance(value, Tensor)}
    return _copy(network, strip_prefix(tensors, "module."), path)


def _copy(network: nn.Module, given: Mapping[str, Tensor], path: Path) -> str:
    """Every weight of the body; its output norms and indices stay, as no classifier has them."""
    state = network.state_dict()
    wanted = {key: key.split(BODY, 1)[1] for key in state if BODY in key}
    needed = {key: name for key, name in wanted.items() if not _is_own(name)}
    wrong = [
        name
        for key, name in needed.items()
        if name not in given or given[name].shape != state[key].shape
    ]
    if wrong:
        raise CheckpointError(
            f"{path}: not the weights of this backbone: {wrong[0]} and {len(wrong) - 1} more are "
            "missing or of another shape"
        )
    network.load_state_dict(state | {key: given[name] for key, name in needed.items()})
    return f"backbone: {len(needed)} tensors of {path}"


def _is_own(name: str) -> bool:
    return name.endswith("relative_position_index") or name.split(".")[0] in (
        *("norm0", "norm1", "norm2", "norm3"),
    )
