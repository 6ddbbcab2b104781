"""Small maps of many regions side by side on one large map, for convolutions by tiles.

A line of zeros lies between neighbours, so that a 3x3 convolution sees each region as if it were
alone, and tiles need not end where regions do: 14 x 14 regions take an eighth less work.

Letters: n regions, S their side, C channels, I rows of regions.
"""

from __future__ import annotations

from torch import Tensor

from vatrack.ops.winograd import TILE, WinogradConv

#: Regions in a row: their columns with one of zeros each fill whole tiles.
ACROSS = 4


class Mosaic:
    """Regions on one map, which convolutions change.

    Args:
        regions: (n, S*S, C).
    """

    def __init__(self, regions: Tensor) -> None:
        self.count, cells, channels = regions.shape
        self.side = round(cells**0.5)
        self.rows = -(-self.count // ACROSS)
        height = -(-self.rows * (self.side + 1) // TILE) * TILE
        shape = (1, height + 2, ACROSS * (self.side + 1) + 2, channels)
        # A convolution writes from one to the other.
        self.now, self.other = regions.new_zeros(shape), regions.new_zeros(shape)
        self.put(regions)

    def put(self, regions: Tensor) -> None:
        """Replaces all regions, (n, S*S, C)."""
        side, whole = self.side, self.count // ACROSS
        maps = regions.unflatten(1, (side, side))
        places = self._places()
        full = maps[: whole * ACROSS].unflatten(0, (whole, ACROSS))
        places[:whole] = full.transpose(1, 2)
        for i in range(whole * ACROSS, self.count):
            places[whole, :, i % ACROSS] = maps[i]

    def get(self) -> Tensor:
        """Regions (n, S*S, C)."""
        regions = self._places().transpose(1, 2).flatten(0, 1)  # I*4, S, S, C
        return regions[: self.count].flatten(1, 2)

    def convolve(self, conv: WinogradConv, *, relu: bool) -> None:
        """Replaces every region by its convolution."""
        inner = self.other[:, 1:-1, 1:-1]
        conv.run(self.now, inner, relu=relu)
        step, end = self.side + 1, self.rows * (self.side + 1)
        below = inner[:, self.side : end : step], inner[:, end:]
        for gap in (*below, inner[:, :, self.side :: step]):
            gap.zero_()
        self.now, self.other = self.other, self.now

    def _places(self) -> Tensor:
        """(I, S, 4, S, C), a view."""
        side, end = self.side, self.rows * (self.side + 1)
        grid = self.now[0, 1 : end + 1, 1:-1]
        return grid.unflatten(1, (ACROSS, -1)).unflatten(0, (self.rows, -1))[:, :side, :, :side]
