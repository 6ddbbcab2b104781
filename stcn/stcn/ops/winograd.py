"""3x3 convolution by Winograd's minimal filtering F(4x4, 3x3), in float32 or bfloat16 on a CPU.

A tile of 4x4 outputs takes 36 multiplications per pair of channels instead of 144 (Lavin and Gray,
"Fast Algorithms for Convolutional Neural Networks", CVPR 2016). The transforms are small matrix
products, so that everything runs on the BLAS that PyTorch has; nothing is compiled. In float32 the
rounding error is near that of the direct form; in bfloat16 it is about four times that of the
direct form (1.2 % of the standard deviation of the output), with the points that make it least.

Letters in shape comments: N images, C input and D output channels, H W image size,
P Q rows and columns of 4x4 tiles, T = P Q tiles of a group of rows.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

OUTPUT_TILE = 4
INPUT_TILE = 6
#: Interpolation points beside infinity.
POINTS = {
    torch.float32: (0.0, 1.0, -1.0, 0.5, -2.0),
    torch.bfloat16: (0.0, 0.65, -0.65, 1.6, -1.6),
}


@lru_cache(maxsize=2)
def transforms(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Cook-Toom matrices for two axes at once.

    Args:
        dtype: of the activations; decides the interpolation points.

    Returns:
        Of the input (36, 36), of the kernel (36, 9) and of the output (16, 36), float64.
    """
    points = torch.tensor(POINTS[dtype], dtype=torch.float64)
    # Polynomial evaluation at the points; the last row is the point at infinity.
    evaluate_output = _vandermonde(points, OUTPUT_TILE)  # 6, 4
    evaluate_kernel = _vandermonde(points, 3)  # 6, 3
    scale = torch.stack([(p - points[points != p]).prod() for p in points])
    evaluate_kernel[:-1] /= scale[:, None]
    # Coefficients of prod(x - p) / (x - p_i), and of the whole product for infinity.
    rows = [_coefficients(points[points != p].tolist()) for p in points]
    rows.append(_coefficients(points.tolist()))
    input_matrix = torch.zeros(INPUT_TILE, INPUT_TILE, dtype=torch.float64)
    for i, row in enumerate(rows):
        input_matrix[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
    output_matrix = evaluate_output.T.contiguous()
    return (
        torch.kron(input_matrix, input_matrix),
        torch.kron(evaluate_kernel, evaluate_kernel),
        torch.kron(output_matrix, output_matrix),
    )


def _vandermonde(points: Tensor, size: int) -> Tensor:
    finite = points[:, None] ** torch.arange(size, dtype=points.dtype)
    infinite = torch.zeros(1, size, dtype=points.dtype)
    infinite[0, -1] = 1
    return torch.cat([finite, infinite])


def _coefficients(roots: list[float]) -> list[float]:
    """Of the monic polynomial with these roots, constant term first."""
    out = [1.0]
    for root in roots:
        shifted, scaled = [0.0, *out], [*(-root * c for c in out), 0.0]
        out = [a + b for a, b in zip(shifted, scaled, strict=True)]
    return out


def transform_kernel(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Kernel (D, C, 3, 3) to (36, C, D), once per network."""
    kernel = transforms(dtype)[1] @ weight.double().flatten(2).permute(2, 1, 0).flatten(1)
    return kernel.view(-1, weight.shape[1], weight.shape[0]).to(dtype).contiguous()


def _terms(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """A transform as factors that `dtype` holds: (R, S) in float32, (R, 2 S) in bfloat16.

    The transforms subtract large numbers, so their coefficients need more than the 8 bits of
    bfloat16: a second block of columns holds what the first one lost.
    """
    if dtype == torch.float32:
        return matrix.float()
    first = matrix.to(dtype)
    return torch.cat([first, (matrix - first.double()).to(dtype)], 1)


class Winograd3x3:
    """A 3x3 convolution with stride 1 and padding 1.

    Args:
        weight: (D, C, 3, 3); its dtype is that of the activations.
        bias: (D,) or None.
        chunk_mb: tiles are processed in groups whose transformed input has about this size, so
            that it stays in the cache and extra memory stays small.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, chunk_mb: float = 8.0) -> None:
        self.dtype = weight.dtype
        self.kernel = transform_kernel(weight, self.dtype)
        self.bias = bias
        self.chunk_mb = chunk_mb
        input_matrix, _, output_matrix = transforms(self.dtype)
        self._input, self._output = (
            _terms(matrix, self.dtype) for matrix in (input_matrix, output_matrix)
        )

    def __call__(self, x: Tensor, *, add: Tensor | None = None, relu: bool = False) -> Tensor:
        """relu(conv(x) + add) of (N, C, H, W), channels last; `add` has the result's shape."""
        num, channels, height, width = x.shape
        rows, columns = -(-height // OUTPUT_TILE), -(-width // OUTPUT_TILE)
        padded = _pad(x, rows * OUTPUT_TILE + 2, columns * OUTPUT_TILE + 2)
        out = x.new_empty((num, rows * OUTPUT_TILE, columns * OUTPUT_TILE, self.kernel.shape[2]))
        row_bytes = x.element_size() * INPUT_TILE**2 * columns * channels
        step = max(1, int(self.chunk_mb * 2**20 / row_bytes))
        for image, target in zip(padded, out, strict=True):
            for first in range(0, rows, step):
                last = min(rows, first + step)
                tiles = image[first * OUTPUT_TILE : last * OUTPUT_TILE + 2]
                self._tiles(tiles, target[first * OUTPUT_TILE : last * OUTPUT_TILE])
        out = out[:, :height, :width].permute(0, 3, 1, 2)  # N, D, H, W
        if add is not None:
            out = out.add_(add)
        return out.relu_() if relu else out

    def _tiles(self, image: Tensor, target: Tensor) -> None:
        """One group of rows of tiles: image (4P+2, 4Q+2, C) to target (4P, 4Q, D)."""
        height, width, channels = image.shape
        rows, columns = (height - 2) // OUTPUT_TILE, (width - 2) // OUTPUT_TILE
        s0, s1, s2 = image.stride()
        tiles = image.as_strided(
            (INPUT_TILE, INPUT_TILE, rows, columns, channels),
            (s0, s1, OUTPUT_TILE * s0, OUTPUT_TILE * s1, s2),
        )
        flat = tiles.reshape(INPUT_TILE**2, -1)  # 36, T*C
        transformed = self._apply(self._input, flat).view(-1, rows * columns, channels)
        product = torch.bmm(transformed, self.kernel)  # 36, T, D
        result = self._apply(self._output, product.view(INPUT_TILE**2, -1))  # 16, T*D
        result = result.view(OUTPUT_TILE, OUTPUT_TILE, rows, columns, -1)
        placed = target.view(rows, OUTPUT_TILE, columns, OUTPUT_TILE, -1)
        placed = placed.permute(1, 3, 0, 2, 4)  # 4, 4, P, Q, D
        if self.bias is None:
            placed.copy_(result)
        else:
            torch.add(result, self.bias, out=placed)

    def _apply(self, matrix: Tensor, values: Tensor) -> Tensor:
        """The transform (R, S) or (R, 2 S) of values (S, ...)."""
        return matrix @ values if len(values) == matrix.shape[1] else matrix @ values.repeat(2, 1)


def _pad(x: Tensor, height: int, width: int) -> Tensor:
    """(N, C, H, W) to channels last in memory, one zero before each side and zeros up to a size."""
    out = x.new_empty((len(x), height, width, x.shape[1]))  # N, height, width, C
    bottom, right = x.shape[2] + 1, x.shape[3] + 1
    for border in (out[:, 0], out[:, bottom:], out[:, :, 0], out[:, :, right:]):
        border.zero_()
    out[:, 1:bottom, 1:right] = x.permute(0, 2, 3, 1)
    return out
