"""3x3 convolutions by Winograd's minimal filtering F(4 x 4, 3 x 3), float32 on a CPU.

16 outputs of a pair of channels take 36 products in place of 144; on large maps of many channels
that is worth the transforms around them. Rounding errors are some times those of the direct form:
the worst of a map is near 2e-5 of its spread.

Letters: B images, H and W size of the map, C and D input and output channels, R and Q rows and
columns of tiles, T tiles that are computed at a time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 4
SPAN = TILE + 2
#: Where polynomials are evaluated, besides infinity; small numbers and fractions round least.
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
#: Values of the transformed input of all channels that are worked on at a time.
CHUNK_VALUES = 1 << 21


def transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Matrices of both axes: of input (36, 36), kernel (36, 9) and output (16, 36), float64.

    In one axis the convolution is the transpose of multiplying polynomials: with V(k) the values
    of k coefficients at all points, it is V(4)^T ((V(3) g) * (V(6)^-T d)).
    """

    def values(count: int) -> Tensor:
        finite = torch.tensor(POINTS, dtype=torch.float64)
        at_infinity = torch.zeros(1, count, dtype=torch.float64)
        at_infinity[0, -1] = 1
        return torch.cat([finite[:, None] ** torch.arange(count), at_infinity])

    of_axis = (values(SPAN).inverse().t(), values(3), values(TILE).t())
    of_input, of_kernel, of_output = (
        torch.kron(matrix.contiguous(), matrix.contiguous()) for matrix in of_axis
    )
    return of_input, of_kernel, of_output


class WinogradConv:
    """A 3x3 convolution of stride 1 and padding 1, with a ReLU where wanted.

    Args:
        weight: (D, C, 3, 3) float32.
        bias: (D,) or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        of_input, of_kernel, of_output = transforms()
        taps = weight.detach().double().flatten(2).permute(2, 1, 0)  # 9, C, D
        kernel = (of_kernel @ taps.flatten(1)).view(SPAN**2, *taps.shape[1:])
        self.kernel = kernel.float()  # 36, C, D
        self.of_input, self.of_output = of_input.float(), of_output.float()
        self.bias = bias

    def __call__(self, x: Tensor, *, relu: bool = False) -> Tensor:
        """(B, C, H, W) to (B, D, H, W), both channels last in memory."""
        batch, channels, height, width = x.shape
        rows, columns = -(-height // TILE), -(-width // TILE)
        border = (0, 0, 1, columns * TILE - width + 1, 1, rows * TILE - height + 1)
        padded = F.pad(x.permute(0, 2, 3, 1), border)  # B, H', W', C
        image, down, across, _ = padded.stride()
        tiles = padded.as_strided(
            (SPAN, SPAN, batch, rows, columns, channels),
            (down, across, image, TILE * down, TILE * across, 1),
        )
        out = x.new_empty((batch, rows * TILE, columns * TILE, self.kernel.shape[2]))
        grid = out.view(batch, rows, TILE, columns, TILE, -1).permute(2, 4, 0, 1, 3, 5)
        # Whole images where they are small, else rows of tiles of one image.
        num_rows = max(1, CHUNK_VALUES // (SPAN**2 * channels * columns))
        num_images = max(1, num_rows // rows)
        for tile_part, out_part in zip(
            tiles.split(num_images, 2), grid.split(num_images, 2), strict=True
        ):
            for part, result in zip(
                tile_part.split(num_rows, 3), out_part.split(num_rows, 3), strict=True
            ):
                self._run(part, result, relu=relu)
        return out[:, :height, :width].permute(0, 3, 1, 2)

    def _run(self, tiles: Tensor, out: Tensor, *, relu: bool) -> None:
        """Tiles (6, 6, b, r, Q, C) to outputs (4, 4, b, r, Q, D)."""
        gathered = tiles.reshape(SPAN**2, -1)  # 36, T*C
        mapped = torch.mm(self.of_input, gathered).view(SPAN**2, -1, tiles.shape[-1])
        products = torch.bmm(mapped, self.kernel)  # 36, T, D
        sums = torch.mm(self.of_output, products.flatten(1)).view(out.shape)
        if self.bias is not None:
            sums += self.bias
        out.copy_(sums.relu_() if relu else sums)
