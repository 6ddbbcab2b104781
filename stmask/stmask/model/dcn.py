"""The modulated deformable convolution of the backbone (spec 3.1).

Letters: B images, C channels, H and W size of the input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stmask.ops.deform_conv import deform_conv2d


class DeformableConv(nn.Module):
    """A 3x3 convolution that samples where, and weighted as, an ordinary 3x3 convolution says.

    It has a bias although a norm follows; released files carry it.

    Args:
        cin: input channels.
        cout: output channels.
        stride: of the convolution.
        dilation: of the convolution; the padding is the same number.
    """

    def __init__(self, cin: int, cout: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        plain = nn.Conv2d(cin, cout, 3)
        assert plain.bias is not None
        self.weight = nn.Parameter(plain.weight.detach())
        self.bias = nn.Parameter(plain.bias.detach())
        self.conv_offset_mask = nn.Conv2d(cin, 27, 3, stride, dilation, dilation)
        # At the start the grid is regular and every sample counts half.
        nn.init.zeros_(self.conv_offset_mask.weight)
        assert self.conv_offset_mask.bias is not None
        nn.init.zeros_(self.conv_offset_mask.bias)
        self.stride, self.padding, self.dilation = ((n, n) for n in (stride, dilation, dilation))

    def sampling(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets (B, 18, H', W') and factors (B, 9, H', W') in (0, 1)."""
        offset, logits = self.conv_offset_mask(x).split([18, 9], 1)
        return offset, logits.sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) to (B, Cout, H/stride, W/stride)."""
        offset, mask = self.sampling(x)
        geometry = (self.stride, self.padding, self.dilation)
        # The operator wants one dtype; autocast would give it two. Float32 keeps the places exact.
        with torch.autocast(x.device.type, enabled=False):
            arguments = (x.float(), offset.float(), self.weight, self.bias)
            return deform_conv2d(*arguments, *geometry, mask.float())
