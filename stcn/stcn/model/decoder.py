"""The mask decoder (spec section 2.4).

Letters in shape comments: K objects (the batch axis), h w feature size at stride 16.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stcn.model.blocks import ResBlock, conv3x3


def upsample(x: Tensor, factor: int) -> Tensor:
    """Bilinear enlargement, half-pixel centres."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


class UpBlock(nn.Module):
    """Doubles the resolution and adds a skip feature."""

    def __init__(self, skip_channels: int, up_channels: int, out_channels: int) -> None:
        super().__init__()
        self.skip_conv = conv3x3(skip_channels, up_channels)
        self.out_conv = ResBlock(up_channels, out_channels)

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        """skip (1 or K, skip_channels, 2h, 2w), x (K, up_channels, h, w); batch 1 broadcasts."""
        return self.out_conv(self.skip_conv(skip) + upsample(x, 2))


class Decoder(nn.Module):
    """From a read-out and the frame's own features to mask logits, every object by itself."""

    def __init__(
        self, in_channels: int, f8_channels: int, f4_channels: int, widths: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.compress = ResBlock(in_channels, widths[0])
        self.up_16_8 = UpBlock(f8_channels, widths[0], widths[1])
        self.up_8_4 = UpBlock(f4_channels, widths[1], widths[2])
        self.pred = conv3x3(widths[2], 1)

    def forward(self, g16: Tensor, f8: Tensor, f4: Tensor) -> Tensor:
        """Decodes concat(read-out, f16_thin) to logits (K, 1, 16h, 16w).

        Args:
            g16: (K, in_channels, h, w).
            f8: (1 or K, f8_channels, 2h, 2w).
            f4: (1 or K, f4_channels, 4h, 4w).
        """
        return self._expand(self.compress(g16), f8, f4)

    def decode_objects(self, readout: Tensor, thin: Tensor, f8: Tensor, f4: Tensor) -> Tensor:
        """Same as `forward`, with all that does not depend on the object computed once.

        Args:
            readout: (K, value_dim, h, w).
            thin: f16_thin of the frame, (1, thin_dim, h, w).
            f8: (1, f8_channels, 2h, 2w).
            f4: (1, f4_channels, 4h, 4w).
        """
        return self._expand(self.compress.forward_shared(readout, thin), f8, f4)

    def _expand(self, x: Tensor, f8: Tensor, f4: Tensor) -> Tensor:
        x = self.up_16_8(f8, x)  # K, widths[1], 2h, 2w
        x = self.up_8_4(f4, x)  # K, widths[2], 4h, 4w
        return upsample(self.pred(torch.relu(x)), 4)  # K, 1, 16h, 16w
