"""Weights before training (spec 5.3); PyTorch's defaults in the backbone, which a file fills."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vatrack.model.fpn import FPN
from vatrack.model.heads import BoxHead, MaskHead, TrackHead
from vatrack.model.resnet import Bottleneck, ResNet
from vatrack.model.rpn import RPNHead


def initialise(network: nn.Module) -> None:
    """Draws the weights of every part by its rule; biases become 0."""
    for module in network.modules():
        rule = RULES.get(type(module))
        if rule is not None:
            rule(module)


def prototypes(channels: int, count: int = 30) -> Tensor:
    """A buffer (1, channels, count) that released files have and nothing reads (spec 1.1)."""
    values = torch.randn(1, channels, count) * math.sqrt(2 / count)
    return values / (1e-6 + values.norm(dim=1, keepdim=True))


def _zero_biases(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)) and layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _resnet(net: nn.Module) -> None:
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(layer, Bottleneck):
            nn.init.ones_(layer.bn3.weight)


def _fpn(fpn: nn.Module) -> None:
    for layer in fpn.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
    _zero_biases(fpn)


def _rpn(head: nn.Module) -> None:
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
    _zero_biases(head)


def _boxes(head: nn.Module) -> None:
    assert isinstance(head, BoxHead)
    for fc in head.shared_fcs:
        assert isinstance(fc, nn.Linear)
        nn.init.xavier_uniform_(fc.weight)
    nn.init.normal_(head.fc_cls.weight, std=0.01)
    nn.init.normal_(head.fc_reg.weight, std=0.001)
    _zero_biases(head)


def _masks(head: nn.Module) -> None:
    for layer in head.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    _zero_biases(head)


def _embeddings(head: nn.Module) -> None:
    assert isinstance(head, TrackHead)
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    for fc in head.fcs:
        assert isinstance(fc, nn.Linear)
        nn.init.xavier_uniform_(fc.weight)
    nn.init.normal_(head.fc_embed.weight, std=0.01)
    _zero_biases(head)


RULES = {
    ResNet: _resnet,
    FPN: _fpn,
    RPNHead: _rpn,
    BoxHead: _boxes,
    MaskHead: _masks,
    TrackHead: _embeddings,
}
