"""Deformable convolutions (spec 3.1 and 3.4): the operator, its definition, a faster form.

On a CPU torchvision's form reads one value at a time. `SampledConv` reads all channels of a pixel
at once, as weighted sums of rows of a table (`embedding_bag`); it has no gradients.

Offsets are (dy, dx) interleaved per tap, taps row-major: tap (i, j) of a kernel of width kw is
number t = kw * i + j and has channels 2t (vertical) and 2t + 1 (horizontal). Padding is (vertical,
horizontal) in its natural meaning.

Letters: B images, C and D channels, H and W size of the input, h and w of the output, K taps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

__all__ = ["SampledConv", "deform_conv2d", "direct_deform_conv2d", "kernel_grid"]

#: Samples of a part of the map have about this many values, so that they stay in the cache.
CHUNK_VALUES = 1 << 20


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


class SampledConv:
    """A deformable convolution of one image for inference, fast on a CPU; one deformable group.

    Args:
        weight: (D, C, kh, kw) in the dtype of the maps.
        bias: (D,) in the same dtype, or None.
        stride: in both directions; the padding is half the kernel.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, stride: int = 1) -> None:
        self.kernel = (weight.shape[2], weight.shape[3])
        self.stride, self.weight, self.bias = stride, weight, bias
        self.table = weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous()  # K*C, D

    def __call__(
        self, x: Tensor, offset: Tensor, mask: Tensor | None = None, *, relu: bool = False
    ) -> Tensor:
        """(B, C, H, W), offsets (B, 2K, h, w), factors (B, K, h, w) to (B, D, h, w), all layouts.

        The result is channels last in memory.
        """
        if x.device.type != "cpu":
            y = self._operator(x, offset, mask)
            return y.relu_() if relu else y
        images = []
        for i in range(len(x)):
            rows = self._image(x[i], offset[i], None if mask is None else mask[i])
            images.append(rows.relu_() if relu else rows)
        return torch.stack(images).permute(0, 3, 1, 2)

    def _operator(self, x: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        padding = (self.kernel[0] // 2, self.kernel[1] // 2)
        stride = (self.stride, self.stride)
        bias = None if self.bias is None else self.bias.float()
        factors = None if mask is None else mask.float()
        arguments = (x.float(), offset.float(), self.weight.float(), bias, stride, padding)
        return deform_conv2d(*arguments, mask=factors).to(x.dtype)

    def _image(self, x: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        """One image (C, H, W) to (h, w, D)."""
        channels, height, width = x.shape
        num_taps, (h, w) = self.kernel[0] * self.kernel[1], offset.shape[1:]
        pixels = x.permute(1, 2, 0).reshape(height * width, channels)
        index, share = self._corners(offset.float(), (height, width))  # h*w, K, 4
        if mask is not None:
            share = share * mask.flatten(1).t().float()[..., None]
        share = share.to(x.dtype)
        out = x.new_empty((h * w, self.table.shape[1]))
        step = max(1, CHUNK_VALUES // (num_taps * channels))
        for start in range(0, h * w, step):
            part = slice(start, start + step)
            samples = F.embedding_bag(
                index[part].flatten(0, 1),
                pixels,
                mode="sum",
                per_sample_weights=share[part].flatten(0, 1),
            ).view(-1, num_taps * channels)
            if self.bias is None:
                torch.mm(samples, self.table, out=out[part])
            else:
                torch.addmm(self.bias, samples, self.table, out=out[part])
        return out.view(h, w, -1)

    def _corners(self, offset: Tensor, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Numbers of the four pixels around every sample, and their shares: (h*w, K, 4) each."""
        height, width = size_hw
        h, w = offset.shape[1:]
        moves = offset.view(-1, 2, h * w).permute(1, 2, 0)  # 2, h*w, K
        pixel = torch.arange(h * w)
        grid = kernel_grid(self.kernel, offset)  # K, 2
        sides = []
        for axis, (origin, size) in enumerate(((pixel // w, height), (pixel % w, width))):
            place = moves[axis] + (origin * self.stride)[:, None] + grid[:, axis]  # h*w, K
            # Beyond this nothing is read; clamped so that the indices of what is not are legal.
            place = place.nan_to_num(-2.0).clamp(-2, size + 1)
            low = place.floor()
            high_share = place - low
            both = torch.stack([low, low + 1], -1)  # h*w, K, 2
            share = torch.stack([1 - high_share, high_share], -1)
            share = share.masked_fill((both < 0) | (both > size - 1), 0.0)
            sides.append((both.clamp(0, size - 1).int(), share))
        (rows, row_share), (columns, column_share) = sides
        index = rows[..., :, None] * width + columns[..., None, :]  # h*w, K, 2, 2
        share = row_share[..., :, None] * column_share[..., None, :]
        return index.flatten(-2), share.flatten(-2)
