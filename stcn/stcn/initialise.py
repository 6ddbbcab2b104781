"""Weights before training (spec section 2.6)."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, ResNet50_Weights

from stcn.model.network import STCN, NetworkConfig
from vidseg_common.checkpoint import load_checkpoint
from vidseg_common.errors import CheckpointError, UserError
from vidseg_common.hub_file import hub_file

#: torchvision's name of ResNet's first stage and the key encoder's.
STAGE_NAME = ("layer1.", "res2.")


def initialise(network: STCN, *, pretrained: bool) -> None:
    """Initialises a network for training from scratch or from ImageNet encoders.

    Args:
        network: as constructed.
        pretrained: copy ImageNet weights into both encoders; only the published structure has
            some.

    Raises:
        UserError: pretrained weights were asked for a structure that has none.
        DownloadError: they are not at hand and cannot be fetched.
        CheckpointError: the file at hand is not the ResNet it should be.
    """
    for module in network.value_encoder.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    # The fuser is no part of the ResNet: framework defaults.
    network.value_encoder.fuser.apply(_reset)
    if pretrained:
        _copy_imagenet(network)
    projection = network.key_proj.key_proj
    nn.init.orthogonal_(projection.weight)
    assert projection.bias is not None
    nn.init.zeros_(projection.bias)


def _reset(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        module.reset_parameters()


def _copy_imagenet(network: STCN) -> None:
    default = NetworkConfig()
    same = ("key_block", "key_stem", "key_widths", "key_depths", "value_widths", "value_depths")
    if any(getattr(network.config, name) != getattr(default, name) for name in same):
        raise UserError(
            "pretrained: only the published encoders have ImageNet weights; "
            "set pretrained to false for another structure"
        )
    theirs, ours = STAGE_NAME
    path = hub_file(ResNet50_Weights.IMAGENET1K_V1.url)
    key_state = {
        ours + name.removeprefix(theirs) if name.startswith(theirs) else name: value
        for name, value in load_checkpoint(path).items()
    }
    _copy_matching(network.key_encoder, key_state, path)
    path = hub_file(ResNet18_Weights.IMAGENET1K_V1.url)
    value_state = dict(load_checkpoint(path))
    conv1 = network.value_encoder.conv1.weight
    extra = conv1.new_empty((conv1.shape[0], conv1.shape[1] - 3, *conv1.shape[2:]))
    nn.init.orthogonal_(extra)
    if "conv1.weight" in value_state:
        value_state["conv1.weight"] = torch.cat([value_state["conv1.weight"], extra], 1)
    _copy_matching(network.value_encoder, value_state, path)


def _copy_matching(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Copies all weights and batch statistics of a ResNet; what it lacks stays as it is."""
    own = module.state_dict()
    resnet = {
        name: value
        for name, value in own.items()
        if not name.startswith("fuser.")
        and name.endswith(("weight", "running_mean", "running_var"))
    }
    wrong = [n for n, v in resnet.items() if n not in state or state[n].shape != v.shape]
    if wrong:
        raise CheckpointError(
            f"{path}: not the ImageNet weights needed here ({wrong[0]} and {len(wrong) - 1} more "
            "entries are missing or of another shape); remove it to fetch it again"
        )
    module.load_state_dict({**own, **{n: v for n, v in state.items() if n in own}})
