"""Feature pyramid (spec 6.2).

Letters: B frames, C channels of the pyramid, H and W size of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from stemseg.model.resnet import ResNet


def _layer(cin: int, cout: int, kernel: int, use_gn: bool, use_relu: bool) -> nn.Module:
    conv = nn.Conv2d(cin, cout, kernel, 1, kernel // 2, bias=not use_gn)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    extra: list[nn.Module] = [nn.GroupNorm(32, cout)] if use_gn else []
    extra += [nn.ReLU(inplace=True)] if use_relu else []
    return nn.Sequential(conv, *extra) if extra else conv


class FPN(nn.Module):
    """Top-down pyramid of four levels with bilinear up-sampling.

    Args:
        in_channels: of C2..C5.
        out_channels: of every level.
        use_gn: group norm after every convolution.
        use_relu: ReLU after every convolution.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        *,
        use_gn: bool = False,
        use_relu: bool = False,
    ) -> None:
        super().__init__()
        for i, cin in enumerate(in_channels, 1):
            inner = _layer(cin, out_channels, 1, use_gn, use_relu)
            layer = _layer(out_channels, out_channels, 3, use_gn, use_relu)
            self.add_module(f"fpn_inner{i}", inner)
            self.add_module(f"fpn_layer{i}", layer)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """C2..C5 to P2..P5, (B, C, H/4, W/4) and so on, finest first."""
        levels: list[Tensor] = []
        last: Tensor | None = None
        for i in range(len(maps), 0, -1):
            inner = self.get_submodule(f"fpn_inner{i}")(maps[i - 1])
            if last is not None:
                inner = inner + F.interpolate(
                    last, scale_factor=2, mode="bilinear", align_corners=False
                )
            last = inner
            levels.insert(0, self.get_submodule(f"fpn_layer{i}")(last))
        return levels


class Backbone(nn.Module):
    """ResNet and pyramid, one frame at a time.

    Args:
        cfg: the section MODEL.
    """

    def __init__(self, cfg: Any) -> None:
        super().__init__()
        self.body = ResNet(cfg)
        self.fpn = FPN(
            self.body.out_channels,
            cfg.RESNETS.BACKBONE_OUT_CHANNELS,
            use_gn=cfg.FPN.USE_GN,
            use_relu=cfg.FPN.USE_RELU,
        )

    def forward(self, frames: Tensor) -> list[Tensor]:
        """(B, 3, H, W), H and W multiples of 32, to P2..P5 of strides 4, 8, 16 and 32."""
        return self.fpn(self.body(frames))
