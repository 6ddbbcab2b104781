"""Correlation of two feature maps over a window (spec 7.1), as batched matrix products.

The products of a pixel with every pixel of a row of the other map are one matrix product per row
and row of the window; what the window needs of it is a band of diagonals, read by strides. No
intermediate has channels times window values, which an unfolded map has.

Letters: B images, C channels, H and W size of the maps, p side of the window, V padded width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

#: Rows are processed in chunks whose products have at most this many values.
CHUNK_VALUES = 1 << 24


def correlate(x1: Tensor, x2: Tensor, patch_size: int = 11, dilation: int = 1) -> Tensor:
    """Products of every pixel of one map with a window of the other one.

    `out[b, i, j, y, x] = sum_c x1[b, c, y, x] * x2[b, c, y + (i - r) * d, x + (j - r) * d]` with
    r = (p - 1) / 2, zeros outside.

    Args:
        x1: (B, C, H, W).
        x2: (B, C, H, W).
        patch_size: p.
        dilation: d, distance of the window's pixels.

    Returns:
        (B, p, p, H, W), neither normalised nor activated.

    Raises:
        ValueError: maps of two shapes, or an even window.
    """
    if x1.shape != x2.shape or x1.dim() != 4:
        raise ValueError(
            f"expected two maps (B, C, H, W), got {tuple(x1.shape)}, {tuple(x2.shape)}"
        )
    if patch_size < 1 or patch_size % 2 == 0 or dilation < 1:
        raise ValueError(
            f"expected an odd window and a positive dilation, got {patch_size} and {dilation}"
        )
    return torch.ops.stmask.correlation(x1, x2, patch_size, dilation)


@torch.library.custom_op("stmask::correlation", mutates_args=())
def _correlation(x1: Tensor, x2: Tensor, patch_size: int, dilation: int) -> Tensor:
    batch, _, height, width = x1.shape
    out = x1.new_empty((batch, patch_size, patch_size, height, width))
    rows = _rows_per_chunk(width, patch_size, dilation)
    for left, right, result in zip(x1, x2, out, strict=True):
        pixels = left.permute(1, 2, 0).contiguous()  # H, W, C
        windows = _windows(right, patch_size, dilation)  # H, p*V, C
        for start in range(0, height, rows):
            part = slice(start, start + rows)
            products = torch.bmm(pixels[part], windows[part].transpose(1, 2))  # h, W, p*V
            band = _band(products, patch_size, dilation)  # h, W, p, p
            result[:, :, part] = band.permute(2, 3, 0, 1)
    return out


@_correlation.register_fake
def _(x1: Tensor, x2: Tensor, patch_size: int, dilation: int) -> Tensor:
    batch, _, height, width = x1.shape
    return x1.new_empty((batch, patch_size, patch_size, height, width))


@torch.library.custom_op("stmask::correlation_backward", mutates_args=())
def _correlation_backward(
    grad: Tensor, x1: Tensor, x2: Tensor, patch_size: int, dilation: int
) -> tuple[Tensor, Tensor]:
    _, _, height, width = x1.shape
    margin = _margin(patch_size, dilation)
    grad_x1, grad_x2 = torch.empty_like(x1), torch.empty_like(x2)
    rows = _rows_per_chunk(width, patch_size, dilation)
    for i, (left, right) in enumerate(zip(x1, x2, strict=True)):
        pixels = left.permute(1, 2, 0).contiguous()  # H, W, C
        windows = _windows(right, patch_size, dilation)  # H, p*V, C
        padded = right.new_zeros((height + 2 * margin, width + 2 * margin, right.shape[0]))
        for start in range(0, height, rows):
            part = slice(start, start + rows)
            given = grad[i, :, :, part].permute(2, 3, 0, 1)  # h, W, p, p
            products = grad.new_zeros((*given.shape[:2], windows.shape[1]))
            _band(products, patch_size, dilation).copy_(given)
            grad_x1[i, :, part] = torch.bmm(products, windows[part]).permute(2, 0, 1)
            spread = torch.bmm(products.transpose(1, 2), pixels[part])  # h, p*V, C
            for k, row in enumerate(spread.unflatten(1, (patch_size, -1)).unbind(1)):
                first = start + k * dilation
                padded[first : first + len(row)] += row
        inner = padded[margin : margin + height, margin : margin + width]
        grad_x2[i] = inner.permute(2, 0, 1)
    return grad_x1, grad_x2


@_correlation_backward.register_fake
def _(
    grad: Tensor, x1: Tensor, x2: Tensor, patch_size: int, dilation: int
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x1), torch.empty_like(x2)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x1, x2, ctx.patch_size, ctx.dilation = inputs
    ctx.save_for_backward(x1, x2)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
    x1, x2 = ctx.saved_tensors
    arguments = (grad, x1, x2, ctx.patch_size, ctx.dilation)
    return (*torch.ops.stmask.correlation_backward(*arguments), None, None)


_correlation.register_autograd(_backward, setup_context=_setup_context)


def _margin(patch_size: int, dilation: int) -> int:
    return (patch_size - 1) // 2 * dilation


def _rows_per_chunk(width: int, patch_size: int, dilation: int) -> int:
    padded = width + 2 * _margin(patch_size, dilation)
    return max(1, CHUNK_VALUES // (width * patch_size * padded))


def _windows(x: Tensor, patch_size: int, dilation: int) -> Tensor:
    """(C, H, W) to the p padded rows around every row: (H, p*V, C), a view for dilation 1."""
    channels, height, _ = x.shape
    margin = _margin(patch_size, dilation)
    padded = F.pad(x.permute(1, 2, 0).contiguous(), (0, 0, *[margin] * 4))  # ., V, C
    row, column, _ = padded.stride()
    size = (height, patch_size, padded.shape[1], channels)
    return padded.as_strided(size, (row, dilation * row, column, 1)).flatten(1, 2)


def _band(products: Tensor, patch_size: int, dilation: int) -> Tensor:
    """A view (h, W, p, p) of products (h, W, p*V): column x + j * d of row i for pixel x."""
    height, width, values = products.shape
    by_row, by_pixel, _ = products.stride()
    size = (height, width, patch_size, patch_size)
    return products.as_strided(size, (by_row, by_pixel + 1, values // patch_size, dilation))


def unfolded_correlate(x1: Tensor, x2: Tensor, patch_size: int = 11, dilation: int = 1) -> Tensor:
    """`correlate` by unfolding the second map: the definition, and a baseline of benchmarks."""
    batch, channels, height, width = x1.shape
    margin = _margin(patch_size, dilation)
    unfolded = F.unfold(x2, patch_size, dilation, margin)  # B, C*p*p, H*W
    windows = unfolded.view(batch, channels, patch_size, patch_size, height, width)
    return (windows * x1[:, :, None, None]).sum(1)
