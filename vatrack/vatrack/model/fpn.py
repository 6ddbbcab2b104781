"""Feature pyramid (spec 2.2).

Letters: B images, C channels, h and w size of a map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vatrack.model.layers import Conv


class FPN(nn.Module):
    """Lateral layers, a top-down sum, 3x3 layers, and every second value of the coarsest map.

    Args:
        in_channels: of C2 to C5.
        channels: of the pyramid.
    """

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(Conv(c, channels, 1, relu=False) for c in in_channels)
        self.fpn_convs = nn.ModuleList(Conv(channels, channels, relu=False) for _ in in_channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """C2..C5 to P2..P6, (B, C, h, w) each."""
        sums = [lateral(x) for lateral, x in zip(self.lateral_convs, maps, strict=True)]
        for i in range(len(sums) - 1, 0, -1):
            above = F.interpolate(sums[i], size=sums[i - 1].shape[-2:], mode="nearest")
            sums[i - 1] = sums[i - 1] + above
        levels = [conv(x) for conv, x in zip(self.fpn_convs, sums, strict=True)]
        return [*levels, F.max_pool2d(levels[-1], 1, 2)]
