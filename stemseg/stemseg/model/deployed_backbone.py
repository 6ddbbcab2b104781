"""Backbone and pyramid as they run in inference, frozen norm folded (see `deployed`).

Letters: B frames, C channels, H and W size of the image.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stemseg.model.fpn import Backbone
from stemseg.model.resnet import Bottleneck, FrozenBatchNorm
from stemseg.ops.convolution import Conv
from stemseg.ops.winograd import Workspace


class DeployedBackbone:
    """The same function as `Backbone`.

    Args:
        backbone: it is not changed.
        dtype: of weights and maps.
        workspace: of the convolutions.
    """

    def __init__(self, backbone: Backbone, dtype: torch.dtype, workspace: Workspace) -> None:
        self.dtype = dtype
        self.plain: Backbone | None = None
        if not _foldable(backbone):
            self.plain = copy.deepcopy(backbone).to(dtype).to(memory_format=torch.channels_last)
            return
        self.stem = _folded(backbone.body.stem, "conv1", "bn1", dtype, workspace)
        self.stages = [
            [_Block(block, dtype, workspace) for block in stage.children()]
            for stage in backbone.body.stages()
        ]
        self.inner, self.layer = (
            [_conv(getattr(backbone.fpn, f"fpn_{kind}{i}"), dtype, workspace) for i in range(1, 5)]
            for kind in ("inner", "layer")
        )

    def __call__(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to P2..P5, (B, C, H/4, W/4) and so on."""
        x = images.to(self.dtype, memory_format=torch.channels_last)
        if self.plain is not None:
            return self.plain(x)
        x = F.max_pool2d(self.stem(x, relu=True), 3, 2, 1)
        maps = []
        for stage in self.stages:
            for block in stage:
                x = block(x)
            maps.append(x)
        return self._pyramid(maps)

    def _pyramid(self, maps: list[Tensor]) -> list[Tensor]:
        levels: list[Tensor] = []
        last: Tensor | None = None
        for x, inner, layer in zip(maps[::-1], self.inner[::-1], self.layer[::-1], strict=True):
            if last is not None:
                last = F.interpolate(last, scale_factor=2, mode="bilinear", align_corners=False)
                last = last.contiguous(memory_format=torch.channels_last)
            last = inner(x, add=last)
            levels.insert(0, layer(last))
        return levels


def _foldable(backbone: Backbone) -> bool:
    """Whether every norm is frozen and the pyramid has convolutions only."""
    grouped = any(isinstance(module, nn.GroupNorm) for module in backbone.modules())
    pyramid = all(isinstance(module, nn.Conv2d) for module in backbone.fpn.children())
    narrow = all(conv.groups == 1 for conv in backbone.modules() if isinstance(conv, nn.Conv2d))
    return not grouped and pyramid and narrow


def _folded(
    parent: nn.Module, conv_name: str, norm_name: str, dtype: torch.dtype, workspace: Workspace
) -> Conv:
    """A convolution and the frozen norm behind it as one."""
    conv, norm = parent.get_submodule(conv_name), parent.get_submodule(norm_name)
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, FrozenBatchNorm)
    scale, shift = norm.scale_and_shift()
    weight = conv.weight.detach() * scale[:, None, None, None]
    return Conv(weight.to(dtype), shift.to(dtype), int(conv.stride[0]), workspace)


def _conv(conv: nn.Conv2d, dtype: torch.dtype, workspace: Workspace) -> Conv:
    assert conv.bias is not None
    weight, bias = conv.weight.detach().to(dtype), conv.bias.detach().to(dtype)
    return Conv(weight, bias, int(conv.stride[0]), workspace)


class _Block:
    """`Bottleneck`, folded."""

    def __init__(self, block: nn.Module, dtype: torch.dtype, workspace: Workspace) -> None:
        assert isinstance(block, Bottleneck)
        self.first, self.second, self.last = (
            _folded(block, f"conv{i}", f"bn{i}", dtype, workspace) for i in (1, 2, 3)
        )
        self.shortcut = None
        if block.downsample is not None:
            self.shortcut = _folded(block.downsample, "0", "1", dtype, workspace)

    def __call__(self, x: Tensor) -> Tensor:
        add = x if self.shortcut is None else self.shortcut(x)
        x = self.second(self.first(x, relu=True), relu=True)
        return self.last(x, add=add, relu=True)
