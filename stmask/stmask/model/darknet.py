"""DarkNet-53, a backbone of the configuration without released weights (spec 3.7).

Letters: B images, C channels, H and W size of the input of the layer at hand.
"""

from __future__ import annotations

from torch import Tensor, nn

from stmask.model.settings import NetworkSettings


def _layer(cin: int, cout: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout), nn.LeakyReLU(0.1, inplace=True))


class DarkNetBlock(nn.Module):
    """1x1 to half the channels, 3x3 back, with a shortcut.

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _layer(channels, channels // 2, 1)
        self.conv2 = _layer(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return self.conv2(self.conv1(x)) + x


class DarkNet(nn.Module):
    """A first layer and five stages, each of which halves the map.

    Args:
        settings: of the network; `blocks` has five numbers.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        cin = settings.stem_width // 2
        self.layers = nn.ModuleList()
        #: Channels of the five stages.
        self.out_channels: list[int] = []
        self._preconv = _layer(3, cin, 3)
        for num_blocks in settings.blocks:
            blocks = [DarkNetBlock(cin * 2) for _ in range(num_blocks)]
            self.layers.append(nn.Sequential(_layer(cin, cin * 2, 3, 2), *blocks))
            cin *= 2
            self.out_channels.append(cin)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to five maps of strides 2 to 32."""
        x = self._preconv(images)
        maps = []
        for stage in self.layers:
            x = stage(x)
            maps.append(x)
        return maps
