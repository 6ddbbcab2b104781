"""3x3 convolutions with fewer multiplications, F(4x4, 3x3) of Winograd, in plain PyTorch.

A tile of 6x6 inputs gives 4x4 outputs by 36 products per pair of channels in place of 144. The
rounding error is some times that of the direct form: the worst of a map is near 2e-5 of its spread.

Letters: B images, H W size of the map, C and D input and output channels, T tiles of a chunk.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 4
SPAN = TILE + 2
#: Polynomials are evaluated here and at infinity; these points round least.
POINTS = (0.0, 1.0, -1.0, -0.5, 2.0)
#: Tiles are processed in chunks whose transforms have about this many values, to stay in cache.
CHUNK_VALUES = 3 << 21


@lru_cache(maxsize=1)
def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """For both axes at once: input (36, 36), kernel (36, 9), output (16, 36), float64.

    In one axis, output i is sum_k A[i, k] * (G g)[k] * (B d)[k]. That this be the sum of g[j] *
    d[i + j] fixes B where A and G hold powers of the points.
    """
    points = torch.tensor(POINTS, dtype=torch.float64)
    scale = torch.stack([(p - points[points != p]).prod() for p in points])
    a, g = (torch.zeros(SPAN, n, dtype=torch.float64) for n in (TILE, 3))
    for matrix in (a, g):
        matrix[:-1] = points[:, None] ** torch.arange(matrix.shape[1])
        matrix[-1, -1] = 1
    g[:-1] /= scale[:, None]
    products = (a[:, :, None] * g[:, None]).flatten(1).t()  # 4*3, 6
    wanted = torch.zeros(TILE, 3, SPAN, dtype=torch.float64)
    for i in range(TILE):
        for j in range(3):
            wanted[i, j, i + j] = 1
    b = torch.linalg.lstsq(products, wanted.flatten(0, 1)).solution  # 6, 6
    return torch.kron(b, b), torch.kron(g, g), torch.kron(a.t().contiguous(), a.t().contiguous())


class Winograd:
    """A 3x3 convolution of stride 1 and padding 1, float32 on a CPU.

    Args:
        weight: (D, C, 3, 3).
        bias: (D,) or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        of_input, of_kernel, of_output = _matrices()
        taps = weight.double().flatten(2).permute(2, 1, 0)  # 9, C, D
        kernel = of_kernel @ taps.flatten(1)
        self.kernel = kernel.view(SPAN**2, *taps.shape[1:]).float()  # 36, C, D
        self.of_input, self.of_output = of_input.float(), of_output.float()
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, D, H, W), both channels last in memory."""
        batch, channels, height, width = x.shape
        rows, columns = -(-height // TILE), -(-width // TILE)
        below, right = rows * TILE - height + 1, columns * TILE - width + 1
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, right, 1, below))
        tiles = padded.unfold(1, SPAN, TILE).unfold(2, SPAN, TILE)  # B, R, Q, C, 6, 6
        num_out = self.kernel.shape[2]
        out = x.new_empty((batch, rows, TILE, columns, TILE, num_out))
        # Chunks are rows of tiles of one image, or several small images.
        per_row = SPAN**2 * columns * (channels + num_out)
        step = max(1, CHUNK_VALUES // per_row)
        if step >= rows:
            images = max(1, step // rows)
            for i in range(0, batch, images):
                part = slice(i, i + images)
                self._run(tiles[part], out[part])
        else:
            for image in range(batch):
                for i in range(0, rows, step):
                    part = slice(i, i + step)
                    self._run(tiles[image : image + 1, part], out[image : image + 1, part])
        joined = out.view(batch, rows * TILE, columns * TILE, num_out)
        return (
            joined[:, :height, :width]
            .permute(0, 3, 1, 2)
            .contiguous(memory_format=torch.channels_last)
        )

    def _run(self, tiles: Tensor, out: Tensor) -> None:
        """Tiles (B, R, Q, C, 6, 6) to outputs (B, R, 4, Q, 4, D)."""
        batch, rows, columns, channels = tiles.shape[:4]
        gathered = tiles.permute(4, 5, 0, 1, 2, 3).reshape(SPAN**2, -1)  # 36, T*C
        mapped = (self.of_input @ gathered).view(SPAN**2, -1, channels)
        products = torch.bmm(mapped, self.kernel).flatten(1)  # 36, T*D
        sums = (self.of_output @ products).view(TILE, TILE, batch, rows, columns, -1)
        if self.bias is not None:
            sums += self.bias
        out.copy_(sums.permute(2, 3, 0, 4, 1, 5))
