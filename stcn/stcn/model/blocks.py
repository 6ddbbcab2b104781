"""Residual block, attention and fusion used by the value encoder and the decoder (spec 2.2, 2.4).

Letters in shape comments: B batch, K objects, C channels, H W feature size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3x3 convolution with padding 1 and a bias."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def conv_of_concat(conv: nn.Conv2d, own: Tensor, shared: Tensor) -> Tensor:
    """`conv(concat(own, shared))` with `shared` (1, C, H, W) convolved once for all K objects.

    A convolution is linear in its input channels, so the part that acts on `shared` does not
    depend on the object (spec section 9, item 3).
    """
    num_own = own.shape[1]
    once = F.conv2d(shared, conv.weight[:, num_own:], conv.bias, padding=conv.padding)
    return F.conv2d(own, conv.weight[:, :num_own], padding=conv.padding).add_(once)


class ResBlock(nn.Module):
    """y = conv2(relu(conv1(relu(x)))) + shortcut(x), without normalisation (spec section 2.2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        same = in_channels == out_channels
        self.downsample = None if same else conv3x3(in_channels, out_channels)
        self.conv1 = conv3x3(in_channels, out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in_channels, H, W) to (B, out_channels, H, W)."""
        residual = self.conv2(torch.relu(self.conv1(torch.relu(x))))
        return residual + (x if self.downsample is None else self.downsample(x))

    def forward_shared(self, own: Tensor, shared: Tensor) -> Tensor:
        """The block on concat(own, shared); own (K, C, H, W), shared (1, C', H, W)."""
        if own.shape[0] == 1 or self.downsample is None:
            return self(torch.cat([own, shared.expand(own.shape[0], -1, -1, -1)], 1))
        hidden = conv_of_concat(self.conv1, torch.relu(own), torch.relu(shared))
        return self.conv2(hidden.relu_()) + conv_of_concat(self.downsample, own, shared)


class ChannelGate(nn.Module):
    """Channel half of CBAM: one shared MLP on the mean and on the maximum (Woo et al., 2018)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = channels // reduction
        # Index 0 is a flatten, so that the layers are named mlp.1 and mlp.3 as in official files.
        self.mlp = nn.Sequential(
            nn.Flatten(), nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scales every channel of (B, C, H, W)."""
        mean = self.mlp(x.mean((2, 3), keepdim=True))
        peak = self.mlp(x.amax((2, 3), keepdim=True))
        return x * torch.sigmoid(mean + peak)[:, :, None, None]  # B, C, H, W


class _GateConv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class SpatialGate(nn.Module):
    """Spatial half of CBAM: a 7x7 convolution on the channel-wise maximum and mean."""

    def __init__(self) -> None:
        super().__init__()
        self.spatial = _GateConv()

    def forward(self, x: Tensor) -> Tensor:
        """Scales every position of (B, C, H, W)."""
        pooled = torch.stack([x.amax(1), x.mean(1)], 1)  # B, 2, H, W; maximum first
        return x * torch.sigmoid(self.spatial(pooled))


class CBAM(nn.Module):
    """Convolutional block attention: channels, then positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ChannelGate = ChannelGate(channels)
        self.SpatialGate = SpatialGate()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        return self.SpatialGate(self.ChannelGate(x))


class Fuser(nn.Module):
    """Joins the value trunk's output with the key encoder's f16 (spec section 2.2)."""

    def __init__(self, value_in: int, key_in: int, out_channels: int, *, cbam: bool) -> None:
        super().__init__()
        self.block1 = ResBlock(value_in + key_in, out_channels)
        self.attention = CBAM(out_channels) if cbam else None
        self.block2 = ResBlock(out_channels, out_channels)

    def forward(self, x: Tensor, f16: Tensor) -> Tensor:
        """x (B, value_in, h, w) with f16 (B or 1, key_in, h, w) to (B, out_channels, h, w)."""
        if f16.shape[0] == x.shape[0]:
            x = self.block1(torch.cat([x, f16], 1))
        else:
            x = self.block1.forward_shared(x, f16)
        if self.attention is not None:
            x = x + self.attention(x)
        return self.block2(x)
