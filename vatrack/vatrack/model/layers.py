"""A convolution as the heads and the pyramid name it: `conv`, and `gn` where a norm follows."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Module):
    """A convolution of odd kernel that keeps the size, an optional group norm, an optional ReLU.

    Args:
        cin: input channels.
        cout: output channels.
        kernel: side of the kernel.
        norm_groups: groups of the norm, which replaces the bias; None: no norm.
        relu: apply it at the end.
    """

    def __init__(
        self,
        cin: int,
        cout: int,
        kernel: int = 3,
        *,
        norm_groups: int | None = None,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.relu = relu
        self.conv = nn.Conv2d(cin, cout, kernel, padding=kernel // 2, bias=norm_groups is None)
        self.gn: nn.GroupNorm | None = None
        if norm_groups is not None:
            self.gn = nn.GroupNorm(norm_groups, cout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, h, w) to (B, Cout, h, w)."""
        x = self.conv(x)
        if self.gn is not None:
            x = self.gn(x)
        return F.relu(x) if self.relu else x
