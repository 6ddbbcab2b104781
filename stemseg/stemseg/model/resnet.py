"""Residual backbone with frozen batch norm (spec 6.1).

Letters: B frames, C channels, H and W size of the input of the layer at hand.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

#: Backbone type to the number of blocks of its four stages. The one of 14 layers was never
#: published; it is there to train from nothing on a small machine.
STAGE_BLOCKS = {
    "R-14-FPN": (1, 1, 1, 1),
    "R-50-FPN": (3, 4, 6, 3),
    "R-101-FPN": (3, 4, 23, 3),
}


class FrozenBatchNorm(nn.Module):
    """Batch norm whose statistics and affine part are constants; its epsilon is 0."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """The layer as y = x * scale + shift, both of shape (C,)."""
        scale = self.weight * self.running_var.rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """Normalises (B, C, H, W) by the stored statistics."""
        scale, shift = self.scale_and_shift()
        return x * scale[:, None, None].to(x.dtype) + shift[:, None, None].to(x.dtype)


def norm_layer(kind: str, channels: int) -> nn.Module:
    """The layer after a convolution of the backbone.

    Args:
        kind: "frozen_bn" (every published model) or "gn", which can be trained from nothing.
        channels: of the map.

    Raises:
        ValueError: another kind.
    """
    if kind == "frozen_bn":
        return FrozenBatchNorm(channels)
    if kind == "gn":
        return nn.GroupNorm(min(32, channels), channels)
    raise ValueError(f"MODEL.RESNETS.NORM: expected frozen_bn or gn, got {kind!r}")


def _conv(cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    return conv


class Stem(nn.Module):
    """7x7 convolution and max pooling, to stride 4."""

    def __init__(self, channels: int, norm: str = "frozen_bn") -> None:
        super().__init__()
        self.conv1 = _conv(3, channels, 7, 2)
        self.bn1 = norm_layer(norm, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, C, H/4, W/4)."""
        x = F.relu_(self.bn1(self.conv1(x)))
        return F.max_pool2d(x, 3, 2, 1)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a shortcut; the stride sits in the first 1x1 as in the released files.

    Args:
        cin: input channels.
        mid: channels of the 3x3 convolution.
        cout: output channels.
        stride: of the block.
        groups: of the 3x3 convolution.
        stride_in_1x1: otherwise the 3x3 convolution has the stride.
        norm: see `norm_layer`.
    """

    def __init__(
        self,
        cin: int,
        mid: int,
        cout: int,
        stride: int = 1,
        *,
        groups: int = 1,
        stride_in_1x1: bool = True,
        norm: str = "frozen_bn",
    ) -> None:
        super().__init__()
        # The shortcut stands first because that is the order of the keys of the released files.
        self.downsample = (
            nn.Sequential(_conv(cin, cout, 1, stride), norm_layer(norm, cout))
            if cin != cout or stride != 1
            else None
        )
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = _conv(cin, mid, 1, first)
        self.bn1 = norm_layer(norm, mid)
        self.conv2 = _conv(mid, mid, 3, second, groups)
        self.bn2 = norm_layer(norm, mid)
        self.conv3 = _conv(mid, cout, 1)
        self.bn3 = norm_layer(norm, cout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) to (B, Cout, H/stride, W/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu_(self.bn1(self.conv1(x)))
        x = F.relu_(self.bn2(self.conv2(x)))
        return F.relu_(self.bn3(self.conv3(x)) + shortcut)


class ResNet(nn.Module):
    """Stem and four stages of bottlenecks.

    Args:
        cfg: the section MODEL; BACKBONE and RESNETS are read.

    Raises:
        ValueError: a backbone type or norm that does not exist.
    """

    def __init__(self, cfg: Any) -> None:
        super().__init__()
        sizes = cfg.RESNETS
        if cfg.BACKBONE.TYPE not in STAGE_BLOCKS:
            known = ", ".join(STAGE_BLOCKS)
            raise ValueError(
                f"MODEL.BACKBONE.TYPE: no backbone {cfg.BACKBONE.TYPE!r}; there are {known}"
            )
        self.stem = Stem(sizes.STEM_OUT_CHANNELS, sizes.NORM)
        cin, cout = sizes.STEM_OUT_CHANNELS, sizes.RES2_OUT_CHANNELS
        mid = sizes.NUM_GROUPS * sizes.WIDTH_PER_GROUP
        #: Channels of C2 to C5.
        self.out_channels = [cout << stage for stage in range(4)]
        for stage, num_blocks in enumerate(STAGE_BLOCKS[cfg.BACKBONE.TYPE]):
            blocks = []
            for block in range(num_blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                width = self.out_channels[stage]
                blocks.append(
                    Bottleneck(
                        *(cin, mid << stage, width, stride),
                        groups=sizes.NUM_GROUPS,
                        stride_in_1x1=sizes.STRIDE_IN_1X1,
                        norm=sizes.NORM,
                    )
                )
                cin = width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.gradient_checkpointing = False
        self._freeze(cfg.BACKBONE.FREEZE_AT_STAGE)

    def stages(self) -> list[nn.Module]:
        """`layer1` to `layer4`."""
        return [self.get_submodule(f"layer{i}") for i in range(1, 5)]

    def _freeze(self, at_stage: int) -> None:
        """No gradient for the stem (stage 1) and the layers before `at_stage` + 1."""
        for module in [self.stem, *self.stages()][: max(at_stage, 0)]:
            module.requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to C2..C5, (B, C, H/4, W/4) and so on, finest first."""
        x = self.stem(x)
        maps = []
        for stage in self.stages():
            if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
                x = checkpoint(stage, x, use_reentrant=False)
            else:
                x = stage(x)
            maps.append(x)
        return maps
