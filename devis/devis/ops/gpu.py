"""Kernels of multi-scale deformable attention for GPUs, in Triton: forward and gradients.

Arguments and letters are those of `devis.ops.ms_deform_attn`. A program has some queries of one
head; samples are summed up in registers, in the type of the locations, and never stored. Gradients
of rows are added up by atomic operations, so their last bits may differ from run to run.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

#: Queries of a program.
BLOCK = 32


@triton.jit
def _places(locations, at, width, height, valid):
    """Of samples: column and row of the pixel above on the left, and the shares beyond them."""
    x = tl.load(locations + 2 * at, mask=valid, other=-1.0) * width - 0.5
    y = tl.load(locations + 2 * at + 1, mask=valid, other=-1.0) * height - 0.5
    inside = valid & (x > -1) & (y > -1) & (x < width) & (y < height)
    x = tl.where(inside, x, 0.0)  # also what is not a number
    y = tl.where(inside, y, 0.0)
    left, top = tl.floor(x), tl.floor(y)
    return left.to(tl.int32), top.to(tl.int32), x - left, y - top, inside


@triton.jit
def _corner(left, top, dx: tl.constexpr, dy: tl.constexpr, width, height, first, inside):
    """Rows of one corner of samples, and whether it is in the level."""
    column, row = left + dx, top + dy
    there = inside & (column >= 0) & (row >= 0) & (column < width) & (row < height)
    return first + row * width + column, there


@triton.jit
def _addresses(row, head, heads, channels, there, D: tl.constexpr):
    """(samples, D) places of the channels of rows in memory, and which of them exist."""
    channel = tl.arange(0, D)
    at = (row * heads + head)[:, None] * channels + channel[None, :]
    return at, there[:, None] & (channel < channels)[None, :]


@triton.jit
def _forward_kernel(
    rows, sizes, start, locations, weights, out,
    total, queries, heads, levels, points, channels,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    query = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    head = tl.program_id(1)
    valid, item = query < total, query // queries
    sums = tl.zeros((BLOCK, D), dtype=out.dtype.element_ty)
    for level in range(levels):
        height, width = tl.load(sizes + 2 * level), tl.load(sizes + 2 * level + 1)
        first = tl.load(start + item * levels + level, mask=valid, other=0)
        for point in range(points):
            at = ((query * heads + head) * levels + level) * points + point
            weight = tl.load(weights + at, mask=valid, other=0.0)
            left, top, lx, ly, inside = _places(locations, at, width, height, valid)
            for dy in tl.static_range(2):
                for dx in tl.static_range(2):
                    row, there = _corner(left, top, dx, dy, width, height, first, inside)
                    share = (lx if dx else 1 - lx) * (ly if dy else 1 - ly) * weight
                    address, exists = _addresses(row, head, heads, channels, there, D)
                    value = tl.load(rows + address, mask=exists, other=0.0).to(sums.dtype)
                    sums += share[:, None] * value
    address, exists = _addresses(query, head, heads, channels, valid, D)
    tl.store(out + address, sums, mask=exists)


@triton.jit
def _backward_kernel(
    grad, rows, sizes, start, locations, weights, by_rows, by_locations, by_weights,
    total, queries, heads, levels, points, channels,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    query = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    head = tl.program_id(1)
    valid, item = query < total, query // queries
    address, exists = _addresses(query, head, heads, channels, valid, D)
    given = tl.load(grad + address, mask=exists, other=0.0)
    for level in range(levels):
        height, width = tl.load(sizes + 2 * level), tl.load(sizes + 2 * level + 1)
        first = tl.load(start + item * levels + level, mask=valid, other=0)
        for point in range(points):
            at = ((query * heads + head) * levels + level) * points + point
            weight = tl.load(weights + at, mask=valid, other=0.0)
            left, top, lx, ly, inside = _places(locations, at, width, height, valid)
            by_weight, by_x, by_y = weight * 0, weight * 0, weight * 0
            for dy in tl.static_range(2):
                for dx in tl.static_range(2):
                    row, there = _corner(left, top, dx, dy, width, height, first, inside)
                    along_x = lx if dx else 1 - lx
                    along_y = ly if dy else 1 - ly
                    address, exists = _addresses(row, head, heads, channels, there, D)
                    value = tl.load(rows + address, mask=exists, other=0.0).to(given.dtype)
                    product = tl.sum(given * value, 1)
                    by_weight += along_x * along_y * product
                    by_x += (along_y if dx else -along_y) * product
                    by_y += (along_x if dy else -along_x) * product
                    share = (along_x * along_y * weight)[:, None] * given
                    tl.atomic_add(by_rows + address, share, mask=exists, sem="relaxed")
            tl.store(by_weights + at, by_weight, mask=valid)
            tl.store(by_locations + 2 * at, by_x * weight * width, mask=valid)
            tl.store(by_locations + 2 * at + 1, by_y * weight * height, mask=valid)


@functools.lru_cache(maxsize=64)
def _sizes(shapes: tuple[int, ...], device: torch.device) -> Tensor:
    """Heights and widths where the kernels read them; made once, as it waits for the device."""
    with torch.inference_mode(False):
        return torch.tensor(shapes, dtype=torch.int32, device=device)


def _counts(locations: Tensor, channels: int) -> tuple[tuple[int, int], tuple[int, ...]]:
    """The grid of programs, and the numbers that both kernels take."""
    items, queries, heads, levels, points, _ = locations.shape
    total = items * queries
    return (triton.cdiv(total, BLOCK), heads), (total, queries, heads, levels, points, channels)


def forward(
    rows: Tensor, shapes: Sequence[int], start: Tensor, locations: Tensor, weights: Tensor
) -> Tensor:
    """(N, Q, M, D) in the type of the locations; `rows` may be of half precision."""
    channels = rows.shape[2]
    out = locations.new_empty((*locations.shape[:3], channels))
    if out.numel():
        tensors = (rows, _sizes(tuple(shapes), rows.device), start, locations, weights)
        grid, counts = _counts(locations, channels)
        size = triton.next_power_of_2(channels)
        _forward_kernel[grid](*(x.contiguous() for x in tensors), out, *counts, size, BLOCK)
    return out


def backward(
    grad: Tensor,
    rows: Tensor,
    shapes: Sequence[int],
    start: Tensor,
    locations: Tensor,
    weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by rows, locations and weights; that by rows in the type of the locations."""
    channels = rows.shape[2]
    by_rows = torch.zeros(rows.shape, dtype=locations.dtype, device=rows.device)
    by_locations = torch.empty_like(locations, memory_format=torch.contiguous_format)
    by_weights = torch.empty_like(weights, memory_format=torch.contiguous_format)
    if grad.numel():
        tensors = (grad, rows, _sizes(tuple(shapes), rows.device), start, locations, weights)
        grid, counts = _counts(locations, channels)
        size = triton.next_power_of_2(channels)
        _backward_kernel[grid](
            *(x.contiguous() for x in tensors), by_rows, by_locations, by_weights,
            *counts, size, BLOCK,
        )  # fmt: skip
    return by_rows, by_locations, by_weights
