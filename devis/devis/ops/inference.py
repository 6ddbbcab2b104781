"""Deformable attention and convolution as inference runs them on a CPU, without gradients.

Both read what projections give, so that places and factors of samples are never stored for all
queries or pixels; and queries and pixels go through in parts that stay in the cache.

Letters: R rows of value, M heads, D channels of a head, N items, Q queries, C their channels, G
levels of all frames, S samples of a head; K images, H and W their size, A and B channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from devis.ops import native
from devis.ops.ms_deform_attn import Shapes, is_plain

#: Parts have about this many numbers.
CHUNK_VALUES = 1 << 20


def can_infer(x: Tensor) -> bool:
    """Whether these forms can be had for a tensor: on a CPU, compiled, without gradients."""
    return (
        x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not is_plain()
        and x.dtype in (torch.float32, torch.float64, torch.bfloat16)
        and native.load() is not None
    )


class Linear:
    """A linear layer as inference on a CPU runs it: packed once for what follows, in its format.

    Args:
        weight: (B, A).
        bias: (B,).
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            weight, bias = weight.to(dtype), bias.to(dtype)
        self.weight, self.bias = weight, bias
        #: Rows that are taken at a time by those who go part by part.
        self.step = max(1, CHUNK_VALUES // len(weight))
        self.packed: Tensor | None = None
        if _can_pack(weight):
            self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), self.step)

    def __call__(self, x: Tensor, *, relu: bool = False) -> Tensor:
        """(..., A) to (..., B)."""
        x = x.to(self.weight.dtype)
        if self.packed is None or not x.numel():
            y = F.linear(x, self.weight, self.bias)
            return y.relu_() if relu else y
        last = "relu" if relu else "none"
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, last, [], "")


def _can_pack(weight: Tensor) -> bool:
    """Whether this build has oneDNN's linear layer with operations behind it, for such weights."""
    known = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    known = known and torch.backends.mkldnn.is_available()
    if weight.dtype == torch.bfloat16:
        return known and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return known and weight.dtype == torch.float32


def feed_forward(x: Tensor, first: nn.Linear, second: nn.Linear) -> Tensor:
    """(..., A) through two layers with ReLU between them to (..., B), part by part."""
    widen, narrow = Linear(first.weight, first.bias), Linear(second.weight, second.bias)
    rows = x.flatten(0, -2)
    out = rows.new_empty((len(rows), second.out_features), dtype=narrow.weight.dtype)
    for first_row in range(0, len(rows), widen.step):
        part = slice(first_row, first_row + widen.step)
        out[part] = narrow(widen(rows[part], relu=True))
    return out.view(*x.shape[:-1], second.out_features)


def attend(
    value: Tensor,
    shapes: Shapes,
    start: Tensor,
    query: Tensor,
    projection: tuple[Tensor, Tensor],
    reference: Tensor,
    points: Sequence[int],
) -> Tensor:
    """Deformable attention from queries to what they read, before the last projection.

    Args:
        value: (R, M, D).
        shapes: (height, width) of the G levels.
        start: (N, G) first row of the levels.
        query: (N, Q, C).
        projection: weight (M * 3 * S, C) and bias of a linear layer that gives, head by head, the
            S offsets along x, those along y, and logits; a softmax covers the S of a head.
        reference: (N, Q, G, 2) points or (N, Q, G, 4) boxes, as fractions.
        points: number of samples in every level; S together.

    Returns:
        (N, Q, M * D) in the type of the projections.
    """
    kernels = native.load()
    assert kernels is not None
    project = Linear(*projection)
    by_head = value.transpose(0, 1).contiguous()  # M, R, D
    exact = torch.float64 if query.dtype == torch.float64 else torch.float32
    if not (exact == torch.float32 and by_head.dtype == torch.bfloat16):
        by_head = by_head.to(exact)  # half precision is read as it is, and summed up in float32
    reference = reference.to(exact)
    sizes = [side for shape in shapes for side in shape]
    heads = len(by_head)
    step = project.step
    width = heads * by_head.shape[2]
    out = query.new_empty((*query.shape[:2], width), dtype=project.weight.dtype)
    # Items with few queries go together, others part by part.
    items = max(1, step // max(1, query.shape[1]))
    for n in range(0, len(query), items):
        for q in range(0, query.shape[1], step):
            part = (slice(n, n + items), slice(q, q + step))
            raw = project(query[part]).to(exact)
            raw = raw.unflatten(-1, (heads, 3, sum(points)))
            read = kernels.attend(
                by_head, sizes, points, start[n : n + items], reference[part], raw
            )
            out[part] = read.flatten(2)
    return out


def deform_conv(x: Tensor, raw: Tensor, weight: Tensor) -> Tensor:
    """Modulated deformable 3x3 convolution, stride 1, padding 1.

    Args:
        x: (K, A, H, W).
        raw: (K, 27, H, W) vertical and horizontal offset of every tap, then logits of the factors
            (0 to 2) of the taps.
        weight: (B, A, 3, 3).

    Returns:
        (K, B, H, W), its channels last in memory.
    """
    kernels = native.load()
    assert kernels is not None
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    pixels = x.permute(0, 2, 3, 1).contiguous().to(exact)
    moves = raw.permute(0, 2, 3, 1).contiguous().to(exact)
    table = weight.permute(2, 3, 1, 0).flatten(0, 2).to(exact)  # 9*A, B
    total, step = pixels[..., 0].numel(), max(1, CHUNK_VALUES // len(table))
    out = pixels.new_empty((total, table.shape[1]))
    for first in range(0, total, step):
        count = min(step, total - first)
        columns = kernels.deform_columns(pixels, moves, first, count)
        torch.mm(columns, table, out=out[first : first + count])
    out = out.view(*pixels.shape[:3], len(weight)).permute(0, 3, 1, 2)
    return out.to(x.dtype)
