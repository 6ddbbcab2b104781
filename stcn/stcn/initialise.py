"""Weights before training (spec section 2.6)."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, ResNet50_Weights

from stcn.model.network import STCN, NetworkConfig
from vidseg_common.checkpoint import load_checkpoint
from vidseg_common.download import download
from vidseg_common.errors import UserError

#: Names in torchvision's ResNet and in the key encoder.
KEY_STAGE_NAMES = {"layer1.": "res2."}


def initialise(network: STCN, *, pretrained: bool) -> None:
    """Initialises a network for training from scratch or from ImageNet encoders.

    Args:
        network: as constructed.
        pretrained: copy ImageNet weights into both encoders; only the published structure has
            some.

    Raises:
        UserError: pretrained weights were asked for a structure that has none.
        DownloadError: they are not at hand and cannot be fetched.
    """
    for module in network.value_encoder.modules():
        if isinstance(module, nn.Conv2d) and module is not None:
            fan = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, 0, math.sqrt(2 / fan))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    # The fuser is no part of the ResNet: framework defaults.
    network.value_encoder.fuser.apply(_reset)
    if pretrained:
        _copy_imagenet(network)
    nn.init.orthogonal_(network.key_proj.key_proj.weight)
    assert network.key_proj.key_proj.bias is not None
    nn.init.zeros_(network.key_proj.key_proj.bias)


def _reset(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        module.reset_parameters()


def _copy_imagenet(network: STCN) -> None:
    default = NetworkConfig()
    same = ("key_block", "key_stem", "key_widths", "key_depths", "value_widths", "value_depths")
    if any(getattr(network.config, name) != getattr(default, name) for name in same):
        raise UserError(
            "pretrained: only the published encoders have ImageNet weights; "
            "set pretrained: false for another structure"
        )
    resnet50 = _imagenet(ResNet50_Weights.IMAGENET1K_V1)
    key_state = {_key_name(name): value for name, value in resnet50.items()}
    _copy_matching(network.key_encoder, key_state)
    resnet18 = _imagenet(ResNet18_Weights.IMAGENET1K_V1)
    conv1 = network.value_encoder.conv1.weight
    extra = conv1.new_empty((64, conv1.shape[1] - 3, 7, 7))
    nn.init.orthogonal_(extra)
    resnet18["conv1.weight"] = torch.cat([resnet18["conv1.weight"], extra], 1)
    _copy_matching(network.value_encoder, resnet18)


def _key_name(name: str) -> str:
    for theirs, ours in KEY_STAGE_NAMES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _copy_matching(module: nn.Module, state: dict[str, Tensor]) -> None:
    own = module.state_dict()
    chosen = {name: value for name, value in state.items() if name in own}
    module.load_state_dict({**own, **chosen})


def _imagenet(weights: ResNet18_Weights | ResNet50_Weights) -> dict[str, Tensor]:
    """The original V1 file, from torch's own cache folder, fetched on first use."""
    url = weights.url
    folder = Path(os.environ.get("TORCH_HOME", "~/.cache/torch")).expanduser()
    target = folder / "hub" / "checkpoints" / url.rsplit("/", 1)[1]
    if not target.exists():
        download(target, url=url)
    return dict(load_checkpoint(target))
