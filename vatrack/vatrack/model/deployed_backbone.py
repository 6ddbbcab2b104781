"""Backbone and pyramid as they run in inference, norms folded (see `deployed`).

Letters: B images, C channels, h and w size of a map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vatrack.model.fpn import FPN
from vatrack.model.layers import Conv
from vatrack.model.resnet import Bottleneck, ResNet
from vatrack.ops.fused import FusedConv
from vatrack.ops.winograd import WinogradConv

#: Pixels of a batch and channels from which on a 3x3 convolution is faster in Winograd's form.
WINOGRAD_PIXELS, WINOGRAD_CHANNELS = 448, 128


class PlainConv:
    """A convolution of odd kernel with half of it as padding, a sum and a ReLU where wanted.

    Args:
        weight: (Cout, Cin / groups, k, k) in the dtype of the maps.
        bias: (Cout,) or None.
        stride: of the convolution.
        groups: of the convolution.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, stride: int = 1, groups: int = 1
    ) -> None:
        self.direct = FusedConv(weight, bias, stride, groups)
        self._by_tiles: WinogradConv | None = None
        plain = (weight.device.type, weight.dtype, groups, stride) == ("cpu", torch.float32, 1, 1)
        if plain and weight.shape[2] == 3 and min(weight.shape[:2]) >= WINOGRAD_CHANNELS:
            self._by_tiles = WinogradConv(weight, bias)

    @classmethod
    def of(cls, conv: nn.Conv2d, dtype: torch.dtype) -> PlainConv:
        """A layer in another dtype."""
        bias = None if conv.bias is None else conv.bias.to(dtype)
        return cls(conv.weight.to(dtype), bias, conv.stride[0], conv.groups)

    @classmethod
    def folded(cls, conv: nn.Conv2d, norm: nn.Module, dtype: torch.dtype) -> PlainConv:
        """A layer without bias and the norm behind it, in float64 before the dtype."""
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        bias = norm.bias.double() - norm.running_mean.double() * scale
        weight = conv.weight.double() * scale[:, None, None, None]
        return cls(weight.to(dtype), bias.to(dtype), conv.stride[0], conv.groups)

    def by_tiles(self, num_pixels: int) -> WinogradConv | None:
        """The form that is faster for so many pixels of all maps; None: the direct one."""
        return self._by_tiles if num_pixels >= WINOGRAD_PIXELS else None

    def __call__(self, x: Tensor, *, add: Tensor | None = None, relu: bool = False) -> Tensor:
        """(B, Cin, h, w) to relu(conv(x) + add), channels last in memory."""
        by_tiles = self.by_tiles(x.numel() // x.shape[1])
        if by_tiles is None or add is not None:
            return self.direct(x, add=add, relu=relu)
        return by_tiles(x, relu=relu)


class _Block:
    """`Bottleneck`."""

    def __init__(self, block: Bottleneck, dtype: torch.dtype) -> None:
        pairs = ((block.conv1, block.bn1), (block.conv2, block.bn2), (block.conv3, block.bn3))
        self.convs = [PlainConv.folded(conv, norm, dtype) for conv, norm in pairs]
        self.shortcut: PlainConv | None = None
        if block.downsample is not None:
            conv, norm = block.downsample
            assert isinstance(conv, nn.Conv2d)
            self.shortcut = PlainConv.folded(conv, norm, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        add = x if self.shortcut is None else self.shortcut(x)
        first, second, third = self.convs
        return third(second(first(x, relu=True), relu=True), add=add, relu=True)


class DeployedResNet:
    """The same function as `ResNet`.

    Args:
        backbone: in eval mode; it is not changed.
        dtype: of weights and maps.
    """

    def __init__(self, backbone: ResNet, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.stem = PlainConv.folded(backbone.conv1, backbone.bn1, dtype)
        self.stages = [
            [_Block(block, dtype) for block in stage if isinstance(block, Bottleneck)]
            for stage in backbone.stages
        ]

    def __call__(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to C2..C5."""
        x = images.to(self.dtype, memory_format=torch.channels_last)
        x = F.max_pool2d(self.stem(x, relu=True), 3, 2, 1)
        maps = []
        for stage in self.stages:
            for block in stage:
                x = block(x)
            maps.append(x)
        return maps


class DeployedFPN:
    """The same function as `FPN`.

    Args:
        fpn: it is not changed.
        dtype: of weights and maps.
    """

    def __init__(self, fpn: FPN, dtype: torch.dtype) -> None:
        self.lateral, self.convs = (
            [PlainConv.of(layer.conv, dtype) for layer in layers if isinstance(layer, Conv)]
            for layers in (fpn.lateral_convs, fpn.fpn_convs)
        )

    def __call__(self, maps: list[Tensor]) -> list[Tensor]:
        """C2..C5 to P2..P6, (B, C, h, w) each, channels last in memory."""
        above: Tensor | None = None
        levels: list[Tensor] = []
        for x, lateral, conv in zip(
            reversed(maps), reversed(self.lateral), reversed(self.convs), strict=True
        ):
            if above is not None:
                above = F.interpolate(above, size=x.shape[-2:], mode="nearest")
            above = lateral(x, add=above)
            levels.insert(0, conv(above))
        levels = [level.contiguous(memory_format=torch.channels_last) for level in levels]
        return [*levels, F.max_pool2d(levels[-1], 1, 2)]
