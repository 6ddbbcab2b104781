"""Deformable convolutions (spec 3.1 and 3.4): torchvision's operator, and its definition.

Offsets are (dy, dx) interleaved per tap, taps row-major: tap (i, j) of a kernel of width kw is
number t = kw * i + j and has channels 2t (vertical) and 2t + 1 (horizontal). Padding is (vertical,
horizontal) in its natural meaning.

Letters: B images, C and D channels, H and W size of the input, h and w of the output, K taps.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import deform_conv2d

__all__ = ["deform_conv2d", "direct_deform_conv2d", "kernel_grid"]


def kernel_grid(kernel: tuple[int, int], like: Tensor) -> Tensor:
    """Places (r, c) of a kernel's taps around its centre: (K, 2), in the dtype of `like`."""
    height, width = kernel
    rows = torch.arange(height, device=like.device, dtype=like.dtype) - height // 2
    columns = torch.arange(width, device=like.device, dtype=like.dtype) - width // 2
    return torch.cartesian_prod(rows, columns)


def direct_deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    mask: Tensor | None = None,
) -> Tensor:
    """The definition in plain PyTorch, for one deformable group: slow, for tests.

    Args:
        x: (B, C, H, W).
        offset: (B, 2K, h, w).
        weight: (D, C, kh, kw).
        bias: (D,).
        stride: vertical and horizontal, as are the two that follow.
        padding: zeros around the input.
        dilation: distance of taps.
        mask: (B, K, h, w) factors of the samples.

    Returns:
        (B, D, h, w).
    """
    kh, kw = weight.shape[2:]
    h, w = offset.shape[2:]
    num_taps = kh * kw
    tap = torch.arange(num_taps, device=x.device)
    steps = (tap // kw * dilation[0], tap % kw * dilation[1])
    rows = torch.arange(h, device=x.device) * stride[0] - padding[0]
    columns = torch.arange(w, device=x.device) * stride[1] - padding[1]
    pairs = offset.unflatten(1, (num_taps, 2))  # B, K, 2, h, w
    y = pairs[:, :, 0] + rows[:, None] + steps[0][:, None, None]
    x_place = pairs[:, :, 1] + columns + steps[1][:, None, None]
    samples = _bilinear(x, y, x_place)  # B, C, K, h, w
    if mask is not None:
        samples = samples * mask[:, None]
    out = torch.einsum("bckhw,dck->bdhw", samples, weight.flatten(2))
    return out if bias is None else out + bias[:, None, None]


def _bilinear(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Values (B, C, K, h, w) at places (B, K, h, w); zeros are outside."""
    batch, channels, height, width = x.shape
    inside = (rows > -1) & (rows < height) & (columns > -1) & (columns < width)
    top, left = rows.floor(), columns.floor()
    total = x.new_zeros((batch, channels, rows[0].numel()))
    for dy in (0, 1):
        for dx in (0, 1):
            row, column = top + dy, left + dx
            share = (1 - (rows - row).abs()) * (1 - (columns - column).abs())
            within = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            share = torch.where(inside & within, share, 0.0)
            index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            index = index.long().flatten(1)[:, None].expand(-1, channels, -1)  # B, C, K*h*w
            total = total + x.flatten(2).gather(2, index) * share.flatten(1)[:, None]
    return total.unflatten(2, tuple(rows.shape[1:]))
