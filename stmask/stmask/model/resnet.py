"""Residual backbone with deformable convolutions (spec 3.1).

Letters: B images, C channels, H and W size of the input of the layer at hand.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from stmask.model.dcn import DeformableConv
from stmask.model.settings import NetworkSettings

EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a shortcut; the 3x3 convolution carries the stride.

    Args:
        cin: input channels.
        mid: channels of the 3x3 convolution; the output has four times as many.
        stride: of the block.
        deformable: whether the 3x3 convolution is deformable.
    """

    def __init__(self, cin: int, mid: int, stride: int = 1, *, deformable: bool = False) -> None:
        super().__init__()
        cout = mid * EXPANSION
        self.conv1 = nn.Conv2d(cin, mid, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(mid)
        self.conv2: nn.Module = (
            DeformableConv(mid, mid, stride)
            if deformable
            else nn.Conv2d(mid, mid, 3, stride, 1, bias=False)
        )
        self.bn2 = nn.BatchNorm2d(mid)
        self.conv3 = nn.Conv2d(mid, cout, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(cout)
        self.downsample = (
            nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))
            if cin != cout or stride != 1
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) to (B, Cout, H/stride, W/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)


class ResNet(nn.Module):
    """Stem and four stages. The stages stand first because that is the order of the keys.

    Args:
        settings: of the network.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        width = settings.stem_width
        self.layers = nn.ModuleList()
        #: Channels of C2 to C5.
        self.out_channels: list[int] = []
        cin = width
        for stage, num_blocks in enumerate(settings.blocks):
            blocks = []
            for block in range(num_blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                deformable = settings.is_deformable(stage, block)
                blocks.append(Bottleneck(cin, width << stage, stride, deformable=deformable))
                cin = (width << stage) * EXPANSION
            self.layers.append(nn.Sequential(*blocks))
            self.out_channels.append(cin)
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)

    def stem(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, C, H/4, W/4)."""
        return F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 3, 2, 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised RGB (B, 3, H, W) to C2..C5, each (B, C, H/4, W/4) and so on."""
        x = self.stem(images)
        maps = []
        for stage in self.layers:
            x = stage(x)
            maps.append(x)
        return maps
