"""Sums of 3x3 convolutions of neighbouring frames by Winograd's minimal filtering, in float32.

A 3x3x3 convolution is a sum over three taps in time of 3x3 convolutions in space. F(4x4, 3x3)
(Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016) gives a tile of
4x4 outputs for 36 multiplications per pair of channels rather than 144. Every frame is
transformed once for all taps, the taps are summed before they are transformed back, and all large
arrays live in one workspace, since fresh memory costs more than the arithmetic. Rounding errors are
near those of the direct form.

Letters in shape comments: N frames, M results, C input and D output channels, K taps, P Q rows and
columns of 4x4 tiles, R rows of tiles of one chunk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

OUTPUT_TILE = 4
INPUT_TILE = 6
#: Interpolation points beside infinity, those of least rounding error in float32.
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)


class Term(NamedTuple):
    """Part of a sum: results [target, target + length) get a tap of frames from `source` on.

    Attributes:
        tap: index of the kernel.
        source: first frame.
        target: first result.
        length: number of consecutive frames and results.
    """

    tap: int
    source: int
    target: int
    length: int


class Workspace:
    """Memory that operators reuse; one per thread of computation."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """Float32 values of undefined content, valid until the name is taken again."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < size:
            buffer = self._buffers[name] = torch.empty(size)
        return buffer[:size].view(shape)


@lru_cache(maxsize=1)
def transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Cook-Toom matrices for two axes at once.

    Returns:
        Of the input (36, 36), of the kernel (36, 9) and of the output (16, 36), float64.
    """
    points = torch.tensor(POINTS, dtype=torch.float64)
    # Polynomials are evaluated at the points; the last row is the point at infinity.
    of_output = _powers(points, OUTPUT_TILE)  # 6, 4
    of_kernel = _powers(points, 3)  # 6, 3
    of_kernel[:-1] /= torch.stack([(p - points[points != p]).prod() for p in points])[:, None]
    # Coefficients of prod(x - p) without one point, and of the whole product for infinity.
    products = [points[points != p].tolist() for p in points] + [points.tolist()]
    of_input = torch.zeros(INPUT_TILE, INPUT_TILE, dtype=torch.float64)
    for i, roots in enumerate(products):
        row = _coefficients(roots)
        of_input[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
    matrices = (of_input, of_kernel, of_output.T.contiguous())
    one, two, three = (torch.kron(matrix, matrix) for matrix in matrices)
    return one, two, three


def _powers(points: Tensor, size: int) -> Tensor:
    infinite = torch.zeros(1, size, dtype=points.dtype)
    infinite[0, -1] = 1
    return torch.cat([points[:, None] ** torch.arange(size, dtype=points.dtype), infinite])


def _coefficients(roots: Sequence[float]) -> list[float]:
    """Of the monic polynomial with these roots, constant term first."""
    out = [1.0]
    for root in roots:
        shifted, scaled = [0.0, *out], [*(-root * c for c in out), 0.0]
        out = [a + b for a, b in zip(shifted, scaled, strict=True)]
    return out


class WinogradTaps:
    """Sums of 3x3 convolutions with padding 1.

    Args:
        weight: (K, D, C, 3, 3) float32 on the CPU.
        workspace: shared by operators that run one after another.
        chunk_mb: rows of tiles are processed in chunks whose transforms have about this size.
    """

    def __init__(self, weight: Tensor, workspace: Workspace, *, chunk_mb: float = 48.0) -> None:
        num_taps, num_out, num_in = weight.shape[:3]
        kernel = transforms()[1] @ weight.double().flatten(3).permute(3, 0, 2, 1).flatten(1)
        kernel = kernel.view(-1, num_taps, num_in, num_out)  # 36, K, C, D
        self.kernel = kernel.transpose(0, 1).float().contiguous()  # K, 36, C, D
        self.input, _, self.output = (matrix.float() for matrix in transforms())
        self.workspace = workspace
        self.chunk_mb = chunk_mb

    def __call__(
        self,
        frames: Sequence[Tensor] | Tensor,
        terms: Sequence[Term],
        targets: Sequence[Tensor] | Tensor,
        *,
        bias: Tensor | None = None,
        relu: bool = False,
    ) -> None:
        """Writes the sums, plus a bias, through a ReLU where asked for.

        Args:
            frames: N of (C, H, W); fastest with channels last in memory.
            terms: what is summed.
            targets: M of (H', W', D) with H' and W' rounded up to multiples of 4; what is there is
                replaced. Results without a term are zero.
            bias: (D,).
            relu: whether negative results become 0.
        """
        P, Q = (size // OUTPUT_TILE for size in targets[0].shape[:2])
        padded = self._pad(frames, P, Q)
        row_values = 2 * len(frames) * padded.shape[-1] + len(targets) * self.kernel.shape[-1]
        row_bytes = 4 * INPUT_TILE**2 * Q * row_values
        rows = max(1, min(P, int(self.chunk_mb * 2**20 / row_bytes)))
        for first in range(0, P, rows):
            start, stop = first * OUTPUT_TILE, min(P, first + rows) * OUTPUT_TILE
            sums = self._sums(padded[:, start : stop + 2], Q, terms, len(targets))
            if bias is not None:
                sums += bias
            if relu:
                sums.relu_()
            for i, target in enumerate(targets):
                _place(sums[:, :, i], target[start:stop])

    def _sums(self, source: Tensor, Q: int, terms: Sequence[Term], num_out: int) -> Tensor:
        """Rows (N, 4R+2, 4Q+2, C) to sums (4, 4, M, R, Q, D)."""
        N, height, _, C = source.shape
        R = height // OUTPUT_TILE
        take = self.workspace.take
        s0, s1, s2, s3 = source.stride()
        tiles = source.as_strided(
            (INPUT_TILE, INPUT_TILE, N, R, Q, C),
            (s1, s2, s0, OUTPUT_TILE * s1, OUTPUT_TILE * s2, s3),
            source.storage_offset(),
        )
        gathered = take("gathered", *tiles.shape).copy_(tiles)
        mapped = take("mapped", INPUT_TILE**2, N * R * Q * C)
        torch.mm(self.input, gathered.view(INPUT_TILE**2, -1), out=mapped)
        frames = mapped.view(INPUT_TILE**2, N, R * Q, C)
        D = self.kernel.shape[-1]
        products = take("products", INPUT_TILE**2, num_out, R * Q, D).zero_()
        for tap, first, target, length in terms:
            left = frames[:, first : first + length].flatten(1, 2)  # 36, length*R*Q, C
            total = products[:, target : target + length].flatten(1, 2)  # 36, length*R*Q, D
            for i in range(INPUT_TILE**2):
                total[i].addmm_(left[i], self.kernel[tap, i])
        sums = take("gathered", OUTPUT_TILE**2, num_out * R * Q * D)
        torch.mm(self.output, products.view(INPUT_TILE**2, -1), out=sums)
        return sums.view(OUTPUT_TILE, OUTPUT_TILE, num_out, R, Q, D)

    def _pad(self, frames: Sequence[Tensor] | Tensor, P: int, Q: int) -> Tensor:
        """Frames (C, H, W) to (N, 4P+2, 4Q+2, C): a zero before, zeros up to the size behind."""
        C, H, W = frames[0].shape
        size = (P * OUTPUT_TILE + 2, Q * OUTPUT_TILE + 2)
        out = self.workspace.take("padded", len(frames), *size, C)
        for border in (out[:, 0], out[:, H + 1 :], out[:, :, 0], out[:, :, W + 1 :]):
            border.zero_()
        for padded, frame in zip(out, frames, strict=True):
            padded[1 : H + 1, 1 : W + 1] = frame.permute(1, 2, 0)
        return out


def target_size(height: int, width: int) -> tuple[int, int]:
    """Size of a target: the map's, rounded up to whole tiles."""
    return -(-height // OUTPUT_TILE) * OUTPUT_TILE, -(-width // OUTPUT_TILE) * OUTPUT_TILE


def _place(sums: Tensor, target: Tensor) -> None:
    """Sums (4, 4, R, Q, D) to their places in target (4R, 4Q, D)."""
    placed = target.unflatten(1, (-1, OUTPUT_TILE)).unflatten(0, (-1, OUTPUT_TILE))
    placed.permute(1, 3, 0, 2, 4).copy_(sums)  # R, 4, Q, 4, D as 4, 4, R, Q, D
