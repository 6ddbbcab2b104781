"""Backbone, pyramid and prototypes as they run in inference, norms folded (see `deployed`).

Letters: B images, C channels, H and W size of the image, P prototypes, h and w size of P3.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stmask.model.dcn import DeformableConv
from stmask.model.fpn import FPN, resize
from stmask.model.resnet import Bottleneck, ResNet
from stmask.ops.convolution import InferenceConv
from stmask.ops.deform_conv import SampledConv


def inference_conv(conv: nn.Module, dtype: torch.dtype) -> InferenceConv:
    """A convolution of a network in another dtype; its kernel is odd, its padding half of it."""
    assert isinstance(conv, nn.Conv2d)
    bias = None if conv.bias is None else conv.bias.detach().to(dtype)
    return InferenceConv(conv.weight.detach().to(dtype), bias, int(conv.stride[0]))


def _folded(
    conv: nn.Conv2d | DeformableConv, norm: nn.Module, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution and the norm behind it as one."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.detach() * (norm.running_var + norm.eps).rsqrt()
    bias = -norm.running_mean if conv.bias is None else conv.bias.detach() - norm.running_mean
    weight = conv.weight.detach() * scale[:, None, None, None]
    return weight.to(dtype), (bias * scale + norm.bias.detach()).to(dtype)


def _conv_norm(conv: nn.Module, norm: nn.Module, dtype: torch.dtype) -> InferenceConv:
    assert isinstance(conv, nn.Conv2d)
    return InferenceConv(*_folded(conv, norm, dtype), int(conv.stride[0]))


class _Deformable:
    """`DeformableConv`, the norm behind it and its ReLU."""

    def __init__(self, layer: DeformableConv, norm: nn.Module, dtype: torch.dtype) -> None:
        self.place = inference_conv(layer.conv_offset_mask, dtype)
        self.conv = SampledConv(*_folded(layer, norm, dtype), layer.stride[0])

    def __call__(self, x: Tensor, *, relu: bool) -> Tensor:
        offset, logits = self.place(x).float().split([18, 9], 1)
        return self.conv(x, offset, logits.sigmoid(), relu=relu)


class _Block:
    """`Bottleneck`."""

    def __init__(self, block: nn.Module, dtype: torch.dtype) -> None:
        assert isinstance(block, Bottleneck)
        self.first = _conv_norm(block.conv1, block.bn1, dtype)
        self.second = (
            _Deformable(block.conv2, block.bn2, dtype)
            if isinstance(block.conv2, DeformableConv)
            else _conv_norm(block.conv2, block.bn2, dtype)
        )
        self.last = _conv_norm(block.conv3, block.bn3, dtype)
        self.shortcut: InferenceConv | None = None
        if block.downsample is not None:
            self.shortcut = _conv_norm(block.downsample[0], block.downsample[1], dtype)

    def __call__(self, x: Tensor) -> Tensor:
        add = x if self.shortcut is None else self.shortcut(x)
        return self.last(self.second(self.first(x, relu=True), relu=True), add=add, relu=True)


class DeployedBackbone:
    """The same function as `ResNet`; another backbone runs as it is.

    Args:
        backbone: in eval mode; it is not changed.
        dtype: of weights and maps.
    """

    def __init__(self, backbone: nn.Module, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.plain: nn.Module | None = None
        if not isinstance(backbone, ResNet):
            plain = copy.deepcopy(backbone).to(dtype)
            self.plain = plain.to(memory_format=torch.channels_last)
            return
        self.stem = _conv_norm(backbone.conv1, backbone.bn1, dtype)
        self.stages = [
            [_Block(block, dtype) for block in stage.children()] for stage in backbone.layers
        ]

    def __call__(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to C3, C4, C5."""
        x = images.to(self.dtype, memory_format=torch.channels_last)
        if self.plain is not None:
            return self.plain(x)[-3:]
        x = F.max_pool2d(self.stem(x, relu=True), 3, 2, 1)
        maps = []
        for stage in self.stages:
            for block in stage:
                x = block(x)
            maps.append(x)
        return maps[-3:]


class DeployedFPN:
    """The same function as `FPN`.

    Args:
        fpn: it is not changed.
        dtype: of weights and maps.
    """

    def __init__(self, fpn: FPN, dtype: torch.dtype) -> None:
        self.fpn = fpn
        self.lateral, self.pred, self.downsample = (
            [inference_conv(conv, dtype) for conv in layers]
            for layers in (fpn.lat_layers, fpn.pred_layers, fpn.downsample_layers)
        )

    def __call__(self, maps: list[Tensor]) -> list[Tensor]:
        """C3, C4, C5 to P3..P7, (B, C, h, w) each."""
        levels: list[Tensor] = []
        above: Tensor | None = None
        for x, lateral, pred in zip(reversed(maps), self.lateral, self.pred, strict=True):
            if above is not None:
                above = channels_last(resize(above, x.shape[-2:]))
            above = lateral(x, add=above)
            levels.insert(0, pred(above, relu=self.fpn.relu_pred))
        for i in range(self.fpn.num_downsample):
            if self.downsample:
                levels.append(self.downsample[i](levels[-1], relu=self.fpn.relu_downsample))
            else:
                levels.append(F.max_pool2d(levels[-1], 1, 2))
        return levels


class DeployedPrototypes:
    """The same function as `prototype_net`, with the channels last.

    Args:
        net: it is not changed.
        dtype: of weights and maps.
    """

    def __init__(self, net: nn.Sequential, dtype: torch.dtype) -> None:
        convs = [inference_conv(m, dtype) for m in net if isinstance(m, nn.Conv2d)]
        self.before, self.after = convs[:3], convs[3:]

    def __call__(self, finest: Tensor) -> Tensor:
        """P3 (B, C, h, w) to prototypes (B, 2h, 2w, P), float32."""
        x = finest
        for conv in self.before:
            x = conv(x, relu=True)
        # Means of values that are not negative are not: the ReLU behind does nothing.
        x = channels_last(resize(x, [2 * size for size in x.shape[-2:]]))
        for conv in self.after:
            x = conv(x, relu=True)
        return x.permute(0, 2, 3, 1).float().contiguous()


def channels_last(x: Tensor) -> Tensor:
    """The same map with its channels last in memory."""
    return x.contiguous(memory_format=torch.channels_last)
