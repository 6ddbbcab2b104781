"""The two ResNet trunks, cut after their third stage (spec sections 2.1 and 2.2).

Letters in shape comments: B batch, C channels, H W image size, fN feature at stride N.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., CVPR 2016, figure 5 left)."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, *, bias: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=bias)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(in_channels, width, stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in_channels, H, W) to (B, width, H/stride, W/stride)."""
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu(out + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with the stride on the 3x3 convolution (the v1.5 form)."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, *, bias: bool) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=bias)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=bias)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = _shortcut(in_channels, out_channels, stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in_channels, H, W) to (B, 4 width, H/stride, W/stride)."""
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu(out + shortcut)


def _shortcut(in_channels: int, out_channels: int, stride: int, *, bias: bool) -> nn.Module | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=bias), nn.BatchNorm2d(out_channels)
    )


def make_stage(
    block: type[BasicBlock] | type[Bottleneck],
    in_channels: int,
    width: int,
    depth: int,
    stride: int,
    *,
    bias: bool,
) -> nn.Sequential:
    """Stacks `depth` blocks; the first one carries the stride."""
    blocks: list[nn.Module] = [block(in_channels, width, stride, bias=bias)]
    blocks += [block(width * block.expansion, width, 1, bias=bias) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


class KeyEncoder(nn.Module):
    """Image features at strides 16, 8 and 4; its convolutions have no bias (spec section 2.1)."""

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], stem: int, widths: tuple, depths: tuple
    ) -> None:
        super().__init__()
        outs = [width * block.expansion for width in widths]
        self.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        # The official files call ResNet's first stage `res2` and the others `layer2`, `layer3`.
        self.res2 = make_stage(block, stem, widths[0], depths[0], 1, bias=False)
        self.layer2 = make_stage(block, outs[0], widths[1], depths[1], 2, bias=False)
        self.layer3 = make_stage(block, outs[1], widths[2], depths[2], 2, bias=False)

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encodes normalised RGB (B, 3, H, W), H and W multiples of 16, to (f16, f8, f4)."""
        x = torch.relu(self.bn1(self.conv1(frame)))  # B, stem, H/2, W/2
        f4 = self.res2(self.maxpool(x))
        f8 = self.layer2(f4)
        return self.layer3(f8), f8, f4


class ValueTrunk(nn.Module):
    """ResNet-18 stages of the value encoder; here every convolution has a bias (spec 2.2)."""

    def __init__(self, in_channels: int, widths: tuple, depths: tuple) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, widths[0], 7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = make_stage(BasicBlock, widths[0], widths[0], depths[0], 1, bias=True)
        self.layer2 = make_stage(BasicBlock, widths[0], widths[1], depths[1], 2, bias=True)
        self.layer3 = make_stage(BasicBlock, widths[1], widths[2], depths[2], 2, bias=True)

    def trunk(self, x: Tensor) -> Tensor:
        """Maps (B, in_channels, H, W) to (B, widths[2], H/16, W/16)."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        return self.layer3(self.layer2(self.layer1(x)))
