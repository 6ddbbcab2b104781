"""Feature pyramid (spec 3.2).

Letters: B images, C channels, H and W size of a map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from stmask.model.settings import NetworkSettings


def resize(x: Tensor, size_hw: Sequence[int]) -> Tensor:
    """Bilinear resize of (B, C, H, W) to a size, pixel centres aligned (not corners)."""
    return F.interpolate(x, size=tuple(size_hw), mode="bilinear", align_corners=False)


class FPN(nn.Module):
    """Lateral layers, a top-down sum, 3x3 layers, and strided layers behind the coarsest map.

    Args:
        in_channels: of C3, C4 and C5.
        settings: of the network.
    """

    def __init__(self, in_channels: Sequence[int], settings: NetworkSettings) -> None:
        super().__init__()
        width = settings.fpn_channels
        self.relu_pred, self.relu_downsample = settings.relu_pred, settings.relu_downsample
        self.num_downsample = settings.num_downsample
        # Stored deepest first, as in the released files.
        self.lat_layers = nn.ModuleList(nn.Conv2d(c, width, 1) for c in reversed(in_channels))
        self.pred_layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in in_channels)
        self.downsample_layers = nn.ModuleList(
            nn.Conv2d(width, width, 3, 2, 1)
            for _ in range(settings.num_downsample if settings.conv_downsample else 0)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """C3, C4, C5 to P3..P7, each (B, C, H, W), finest first."""
        levels: list[Tensor] = []
        above: Tensor | None = None
        layers = zip(reversed(maps), self.lat_layers, self.pred_layers, strict=True)
        for x, lateral, pred in layers:
            x = lateral(x)
            above = x if above is None else x + resize(above, x.shape[-2:])
            level = pred(above)
            levels.insert(0, F.relu(level) if self.relu_pred else level)
        for i in range(self.num_downsample):
            levels.append(self._downsample(levels[-1], i))
        return levels

    def _downsample(self, x: Tensor, index: int) -> Tensor:
        if not self.downsample_layers:
            return F.max_pool2d(x, 1, 2)
        x = self.downsample_layers[index](x)
        return F.relu(x) if self.relu_downsample else x
