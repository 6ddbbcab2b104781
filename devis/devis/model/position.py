"""Position encodings (spec 5.2).

Letters: B images or frames, T frames, D channels, H and W size of a level.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

EPS = 1e-6


def _fractions(inside: Tensor, axis: int) -> Tensor:
    """Place of every position among those inside the image along an axis, from 0 to 2 pi."""
    counted = inside.cumsum(axis, dtype=torch.float32)
    last = counted.narrow(axis, counted.shape[axis] - 1, 1)
    return counted / (last + EPS) * (2 * math.pi)


def waves(places: Tensor, width: int) -> Tensor:
    """(...,) to (..., width): sine and cosine in turn, of frequencies down to 1 / 10000."""
    index = torch.arange(width, dtype=torch.float32, device=places.device)
    angles = places[..., None] / 10000 ** (2 * torch.div(index, 2, rounding_mode="floor") / width)
    return torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), -1).flatten(-2)


class SinePosition(nn.Module):
    """Row and column inside the unpadded image, as sines.

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, padding: Tensor) -> Tensor:
        """(B, H, W), True on padding, to (B, D, H, W)."""
        inside = ~padding
        rows = waves(_fractions(inside, 1), self.dim // 2)
        columns = waves(_fractions(inside, 2), self.dim // 2)
        return torch.cat((rows, columns), -1).permute(0, 3, 1, 2)


class LearnedFramePosition(SinePosition):
    """The same plus a learned vector for every frame of the clip.

    Args:
        dim: D.
        num_frames: T.
    """

    def __init__(self, dim: int, num_frames: int) -> None:
        super().__init__(dim)
        self.temporal_embed = nn.Parameter(torch.randn(num_frames, dim))

    def forward(self, padding: Tensor) -> Tensor:
        """(T, H, W), True on padding, to (T, D, H, W)."""
        return super().forward(padding) + self.temporal_embed[:, :, None, None]


class SineFramePosition(SinePosition):
    """Frame, row and column as sines; a third of the channels each, the frame has what is left."""

    def forward(self, padding: Tensor) -> Tensor:
        """(T, H, W), True on padding, to (T, D, H, W)."""
        inside, width = ~padding, self.dim // 6 * 2
        frames = waves(_fractions(torch.ones_like(inside), 0), self.dim - 2 * width)
        rows, columns = (waves(_fractions(inside, axis), width) for axis in (1, 2))
        return torch.cat((frames, rows, columns), -1).permute(0, 3, 1, 2)
