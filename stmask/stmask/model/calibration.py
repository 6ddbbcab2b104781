"""Feature calibration for boxes, FCB (spec 3.4).

Letters: B images, C channels, h and w size of the map, K taps of the kernel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stmask.model.settings import NetworkSettings
from stmask.ops.deform_conv import deform_conv2d, kernel_grid


def aligned_offsets(loc: Tensor, kernel: tuple[int, int]) -> Tensor:
    """Offsets that move and stretch a kernel's grid onto the box decoded at every pixel (ali).

    Args:
        loc: (B, 4, h, w) regressed (dx, dy, dw, dh) of the kernel's prior.
        kernel: height and width.

    Returns:
        (B, 2K, h, w), (dy, dx) interleaved per tap.
    """
    kh, kw = kernel
    shift = torch.stack([0.1 * loc[:, 1] * kh, 0.1 * loc[:, 0] * kw], 1)  # B, 2, h, w
    stretch = (0.2 * loc[:, [3, 2]]).exp() - 1  # B, 2, h, w
    grid = kernel_grid(kernel, loc)[..., None, None]  # K, 2, 1, 1
    return (shift[:, None] + stretch[:, None] * grid).flatten(1, 2)


class CalibratedLayer(nn.Module):
    """A deformable convolution placed by the predicted boxes, then an ordinary one.

    Args:
        channels: of the feature map.
        num_out: outputs.
        kernel: height and width of both convolutions.
        settings: of the network: mode, scales per anchor, whether the second one exists.
    """

    def __init__(
        self, channels: int, num_out: int, kernel: tuple[int, int], settings: NetworkSettings
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.padding = (kernel[0] // 2, kernel[1] // 2)
        if settings.fcb == "ada":
            num_offsets = 2 * kernel[0] * kernel[1]
            num_boxes = settings.scales_per_anchor
            self.conv_offset = nn.Conv2d(4 * num_boxes, num_offsets, 1, bias=False)
        width = num_out if settings.direct_calibration else channels
        # Only its weight is used: where it samples is said by the boxes.
        self.conv_adaption = nn.Conv2d(channels, width, kernel, bias=False)
        if not settings.direct_calibration:
            self.conv = nn.Conv2d(channels, num_out, kernel, padding=self.padding)

    def offsets(self, loc: Tensor) -> Tensor:
        """Regressed boxes (B, 4, h, w) to offsets (B, 2K, h, w); no gradient goes back to them.

        With several scales per kernel `loc` has four channels for each; "ada" reads all of them,
        "ali" follows the first, whose prior is the kernel's window.
        """
        loc = loc.detach()
        if hasattr(self, "conv_offset"):
            return self.conv_offset(loc)
        return aligned_offsets(loc[:, :4], self.kernel)

    def adapt(self, x: Tensor, offset: Tensor) -> Tensor:
        """The deformable convolution, before its ReLU."""
        with torch.autocast(x.device.type, enabled=False):
            arguments = (x.float(), offset.float(), self.conv_adaption.weight)
            return deform_conv2d(*arguments, padding=self.padding)

    def forward(self, x: Tensor, loc: Tensor) -> Tensor:
        """(B, C, h, w) and regressed boxes (B, 4, h, w) to outputs (B, num_out, h, w)."""
        adapted = F.relu(self.adapt(x, self.offsets(loc)))
        return self.conv(adapted) if hasattr(self, "conv") else adapted
