"""3x3 convolutions by Winograd's minimal filtering F(4 x 4, 3 x 3), float32 on a CPU.

16 outputs of a pair of channels take 36 products in place of 144; on maps of many channels that is
worth the transforms around them. Rounding errors are some times those of the direct form: the worst
of a map is near 2e-5 of its spread.

Letters: B images, H and W size of the map, C and D input and output channels, R and Q rows and
columns of tiles, r rows of tiles that are computed at a time, T = r Q.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vatrack.ops.fused import FusedConv

TILE = 4
SPAN = TILE + 2
#: Where polynomials are evaluated, besides infinity; small numbers and fractions round least.
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
#: Tiles that are computed at a time: what lies between the steps stays in the cache.
CHUNK_TILES = 320


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
        taps = weight.detach().double().flatten(2).permute(2, 0, 1)  # 9, D, C
        kernel = (of_kernel @ taps.flatten(1)).float()  # 36, D*C
        self.num_out = len(weight)
        # The product of the 36 values of every tile is a 1x1 convolution of 36 groups.
        kernel = kernel.view(-1, weight.shape[1], 1, 1)
        self.products = FusedConv(kernel, None, groups=SPAN**2, num_sizes=2)
        self.of_input, self.of_output = of_input.float(), of_output.float()
        self.bias = weight.new_zeros(self.num_out) if bias is None else bias.detach()

    def __call__(self, x: Tensor, *, relu: bool = False) -> Tensor:
        """(B, C, H, W) to (B, D, H, W), both channels last in memory."""
        batch, channels, height, width = x.shape
        rows, columns = -(-height // TILE), -(-width // TILE)
        padded = x.new_empty((batch, rows * TILE + 2, columns * TILE + 2, channels))
        padded[:, 1 : height + 1, 1 : width + 1] = x.permute(0, 2, 3, 1)
        border = (padded[:, 0], padded[:, height + 1 :])
        for part in (*border, padded[:, :, 0], padded[:, :, width + 1 :]):
            part.zero_()
        out = x.new_empty((batch, rows * TILE, columns * TILE, self.num_out))
        self.run(padded, out, relu=relu)
        return out[:, :height, :width].permute(0, 3, 1, 2)

    def run(self, padded: Tensor, out: Tensor, *, relu: bool) -> None:
        """Convolves maps that have their border of zeros.

        Args:
            padded: (B, 4 R + 2, 4 Q + 2, C).
            out: (B, 4 R, 4 Q, D) is written.
            relu: cut below 0.
        """
        channels, rows, columns = padded.shape[3], out.shape[1] // TILE, out.shape[2] // TILE
        image, down, across, _ = padded.stride()
        tiles = padded.as_strided(
            (len(padded), rows, columns, SPAN, SPAN, channels),
            (image, TILE * down, TILE * across, down, across, 1),
            padded.storage_offset(),
        )
        grid = out.unflatten(2, (-1, TILE)).unflatten(1, (-1, TILE)).transpose(2, 3)
        num_rows = min(max(1, CHUNK_TILES // columns), rows)
        work = _Work(self, num_rows, columns, channels)
        for tiles_of, grid_of in zip(tiles, grid, strict=True):
            for first in range(0, rows, num_rows):
                # All parts are of one size; the last overlaps the one before it.
                part = slice(min(first, rows - num_rows), min(first + num_rows, rows))
                work.run(tiles_of[part], grid_of[part], relu=relu)


class _Work:
    """Memory of a part, used again for all parts.

    Args:
        conv: whose part.
        rows: r.
        columns: Q.
        channels: C.
    """

    def __init__(self, conv: WinogradConv, rows: int, columns: int, channels: int) -> None:
        self.conv, self.count = conv, rows * columns
        new = conv.of_input.new_empty
        self.gathered = new((rows, columns, SPAN, SPAN, channels))
        self.mapped = new((self.count, SPAN**2, channels))
        self.sums = new((self.count, TILE**2, conv.num_out))

    def run(self, tiles: Tensor, out: Tensor, *, relu: bool) -> None:
        """Tiles (r, Q, 6, 6, C) to outputs (r, Q, 4, 4, D)."""
        conv, count = self.conv, self.count
        self.gathered.copy_(tiles)
        of_input = conv.of_input.expand(count, -1, -1)
        torch.bmm(of_input, self.gathered.view(count, SPAN**2, -1), out=self.mapped)
        as_map = self.mapped.view(1, count, 1, -1).permute(0, 3, 1, 2)  # 1, 36*C, T, 1
        products = conv.products(as_map).permute(0, 2, 3, 1).view(count, SPAN**2, -1)
        bias = conv.bias.expand(count, TILE**2, -1)
        of_output = conv.of_output.expand(count, -1, -1)
        torch.baddbmm(bias, of_output, products, out=self.sums)
        sums = self.sums.view(out.shape)
        if relu:
            torch.clamp_min(sums, 0, out=out)
        else:
            out.copy_(sums)
