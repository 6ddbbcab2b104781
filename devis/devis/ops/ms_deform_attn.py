"""Multi-scale deformable attention: the weighted sum of bilinear samples (spec 5.4).

Letters: B items of value, S positions of all levels together, M heads, D channels of a head;
N items of queries (as many as B, unless `level_start` says which rows each one reads), Q queries,
L levels, P points.

Two forms that agree: `grid_sample_form` in plain PyTorch, differentiable any number of times and
exportable; and the operator `devis::ms_deform_attn`, with a C++ kernel on the CPU and a Triton
kernel on GPUs, which stores no samples. `ms_deform_attn` takes the operator where its kernel can
be had.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from devis.ops import native

Shapes = Sequence[tuple[int, int]]
_plain_only = False


@contextlib.contextmanager
def plain_pytorch() -> Iterator[None]:
    """Inside, everything takes its plain form: for export, and for comparing with it."""
    global _plain_only
    before, _plain_only = _plain_only, True
    try:
        yield
    finally:
        _plain_only = before


def is_plain() -> bool:
    """Whether this is inside of `plain_pytorch`."""
    return _plain_only


def level_starts(shapes: Shapes) -> list[int]:
    """First position of every level when they lie one after the other."""
    starts = [0]
    for height, width in shapes[:-1]:
        starts.append(starts[-1] + height * width)
    return starts


def ms_deform_attn(
    value: Tensor,
    spatial_shapes: Shapes,
    level_start: Tensor | Sequence[int],
    locations: Tensor,
    weights: Tensor,
) -> Tensor:
    """Samples every level at the locations of every query and sums them up by the weights.

    Half precision is computed and accumulated in float32.

    Args:
        value: (B, S, M, D).
        spatial_shapes: (height, width) of the L levels.
        level_start: first position of every level within S; or integers (N, L): for every item of
            queries the first row of its levels in `value` seen as (B*S, M, D), so that items
            may read levels of others without a copy.
        locations: (N, Q, M, L, P, 2); x and y as fractions of width and height; pixel centres are
            at (i + 0.5) / size, and outside the level is zero.
        weights: (N, Q, M, L, P).

    Returns:
        (N, Q, M*D) in the type of `value`.
    """
    batch, positions, heads, channels = value.shape
    start = torch.as_tensor(level_start, dtype=torch.int64, device=value.device)
    if start.ndim == 1:
        start = start + positions * torch.arange(batch, device=value.device)[:, None]  # N, L
    dtype = torch.promote_types(torch.promote_types(value.dtype, locations.dtype), torch.float32)
    rows = value.reshape(batch * positions, heads, channels)
    locations, weights = locations.to(dtype), weights.to(dtype)
    if not _plain_only and native.kernels(value.device.type) is not None:
        sizes = [side for shape in spatial_shapes for side in shape]
        out = torch.ops.devis.ms_deform_attn(rows, sizes, start, locations, weights)
    else:
        out = grid_sample_form(rows, spatial_shapes, start, locations, weights)
    return out.flatten(2).to(value.dtype)


def grid_sample_form(
    rows: Tensor, shapes: Shapes, start: Tensor, locations: Tensor, weights: Tensor
) -> Tensor:
    """The operator in plain PyTorch.

    Args:
        rows: (R, M, D); half precision is read as it is, and all else is in that of the locations.
        shapes: (height, width) of the L levels.
        start: (N, L) first row of every level.
        locations: (N, Q, M, L, P, 2).
        weights: (N, Q, M, L, P).

    Returns:
        (N, Q, M, D).
    """
    items, queries, heads = locations.shape[:3]
    channels, rows = rows.shape[2], rows.to(locations.dtype)
    grids = (2 * locations - 1).transpose(1, 2).flatten(0, 1)  # N*M, Q, L, P, 2
    samples = []
    for level, (height, width) in enumerate(shapes):
        index = start[:, level, None] + torch.arange(height * width, device=rows.device)
        image = rows[index].permute(0, 2, 3, 1)  # N, M, D, H*W
        image = image.reshape(items * heads, channels, height, width)
        samples.append(
            F.grid_sample(image, grids[:, :, level], padding_mode="zeros", align_corners=False)
        )  # N*M, D, Q, P
    stacked = torch.stack(samples, -2).flatten(-2)  # N*M, D, Q, L*P
    shares = weights.transpose(1, 2).reshape(items * heads, 1, queries, stacked.shape[-1])
    out = (stacked * shares).sum(-1).view(items, heads, channels, queries)
    return out.permute(0, 3, 1, 2).contiguous()


def _pairs(shapes: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(shapes[::2], shapes[1::2], strict=True))


@torch.library.custom_op("devis::ms_deform_attn", mutates_args=())
def _operator(
    rows: Tensor, shapes: Sequence[int], start: Tensor, locations: Tensor, weights: Tensor
) -> Tensor:
    """The operator; its arguments are those of `grid_sample_form`, shapes flattened."""
    kernels = native.kernels(rows.device.type)
    if kernels is None:
        return grid_sample_form(rows, _pairs(shapes), start, locations, weights)
    if rows.device.type == "cpu":
        rows = rows.to(locations.dtype)  # read many times from the cache: a copy is worth it
    return kernels.forward(rows, shapes, start, locations, weights)


@torch.library.custom_op("devis::ms_deform_attn_backward", mutates_args=())
def _backward_operator(
    grad: Tensor,
    rows: Tensor,
    shapes: Sequence[int],
    start: Tensor,
    locations: Tensor,
    weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by rows, locations and weights."""
    kernels = native.kernels(rows.device.type)
    if kernels is not None:
        read = rows.to(locations.dtype) if rows.device.type == "cpu" else rows
        found = kernels.backward(grad, read, shapes, start, locations, weights)
        return found[0].to(rows.dtype), found[1], found[2]
    with torch.enable_grad():
        inputs = [x.detach().requires_grad_() for x in (rows, locations, weights)]
        out = grid_sample_form(inputs[0], _pairs(shapes), start, inputs[1], inputs[2])
    first, second, third = torch.autograd.grad(out, inputs, grad)
    return first, second, third


@_operator.register_fake
def _(
    rows: Tensor, shapes: Sequence[int], start: Tensor, locations: Tensor, weights: Tensor
) -> Tensor:
    return locations.new_empty((*locations.shape[:3], rows.shape[2]))


@_backward_operator.register_fake
def _(
    grad: Tensor,
    rows: Tensor,
    shapes: Sequence[int],
    start: Tensor,
    locations: Tensor,
    weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    made = [x.new_empty(x.shape) for x in (rows, locations, weights)]
    return made[0], made[1], made[2]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    rows, ctx.shapes, start, locations, weights = inputs
    ctx.save_for_backward(rows, start, locations, weights)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    rows, start, locations, weights = ctx.saved_tensors
    by_rows, by_locations, by_weights = torch.ops.devis.ms_deform_attn_backward(
        grad.contiguous(), rows, ctx.shapes, start, locations, weights
    )
    return by_rows, None, None, by_locations, by_weights


_operator.register_autograd(_differentiate, setup_context=_save)
