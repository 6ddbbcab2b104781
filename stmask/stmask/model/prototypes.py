"""Prototypes, and the optional layers that losses need (spec 3.3, 10.2).

Letters: B images, C channels, H and W size of P3, P prototypes, n masks.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from stmask.model.fpn import resize
from stmask.model.settings import NetworkSettings


class Double(nn.Module):
    """Bilinear up-sampling to twice the size."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 2H, 2W)."""
        return resize(x, [2 * size for size in x.shape[-2:]])


def prototype_net(settings: NetworkSettings) -> nn.Sequential:
    """Layers from P3 (B, C, H, W) to prototypes (B, P, 2H, 2W).

    Indices are those of the released files' keys. A ReLU follows every layer, the up-sampling and
    the last one too.
    """
    width = settings.fpn_channels
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
    layers += [Double(), nn.ReLU()]
    layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(width, settings.num_prototypes, 1), nn.ReLU()]
    return nn.Sequential(*layers)


class MaskIoUNet(nn.Module):
    """Rates soft masks for every class; for its loss only, no released file has it.

    Args:
        settings: of the network.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        cin = 1
        for cout in settings.maskiou_channels:
            layers += [nn.Conv2d(cin, cout, 3, 2, 1), nn.ReLU()]
            cin = cout
        layers += [nn.Conv2d(cin, settings.num_classes - 1, 1), nn.ReLU()]
        self.maskiou_net = nn.Sequential(*layers)

    def forward(self, masks: Tensor) -> Tensor:
        """Soft masks (n, 1, h, w) to the IoU expected for each foreground class, (n, classes)."""
        return F.adaptive_max_pool2d(self.maskiou_net(masks), 1).flatten(1)
