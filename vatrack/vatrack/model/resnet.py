"""Residual backbones, ResNet and ResNeXt (spec 2.1).

Letters: B images, C channels, H and W size of the image.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vatrack.model.settings import ModelSettings

EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, 1x1, and a shortcut; every convolution is followed by a norm.

    Args:
        cin: input channels.
        width: channels of the 3x3 convolution.
        cout: output channels.
        stride: of the block.
        groups: of the 3x3 convolution.
        project: the shortcut is a convolution.
    """

    def __init__(
        self, cin: int, width: int, cout: int, stride: int, groups: int, *, project: bool
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(cin, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, cout, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(cout)
        self.downsample: nn.Sequential | None = None
        if project:
            conv = nn.Conv2d(cin, cout, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(cout))

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, h, w) to (B, Cout, h/stride, w/stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)


class ResNet(nn.Module):
    """Stem and four stages.

    Args:
        settings: of the network.

    Attributes:
        out_channels: of C2 to C5.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.frozen_stages, self.norm_eval = settings.frozen_stages, settings.norm_eval
        cin = settings.stem_channels
        self.conv1 = nn.Conv2d(3, cin, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(cin)
        self.out_channels: list[int] = []
        for stage, num_blocks in enumerate(settings.blocks):
            cout = (settings.stem_channels << stage) * EXPANSION
            blocks = []
            for block in range(num_blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                width = settings.width_of(stage)
                blocks.append(
                    Bottleneck(cin, width, cout, stride, settings.groups, project=block == 0)
                )
                cin = cout
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            self.out_channels.append(cout)
        self._freeze()

    @property
    def stages(self) -> list[nn.Sequential]:
        """The four stages."""
        return [self.get_submodule(f"layer{i}") for i in range(1, 5)]  # type: ignore[misc]

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        for module in (self.conv1, self.bn1, *self.stages[: self.frozen_stages]):
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> ResNet:
        """Training mode, in which norms keep their running statistics where settings say so."""
        super().train(mode)
        frozen = [self.bn1, *self.stages[: max(self.frozen_stages, 0)]]
        for part in [self] if self.norm_eval else frozen if self.frozen_stages >= 0 else []:
            for module in part.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.training = False
        return self

    def stem(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, C, H/4, W/4)."""
        return F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 3, 2, 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised RGB (B, 3, H, W) to C2..C5, each (B, C, H/4, W/4) and so on."""
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
