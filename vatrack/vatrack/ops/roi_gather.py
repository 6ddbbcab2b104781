"""RoIAlign on a CPU as weighted sums of rows of the feature map (spec 2.6).

The samples of a bin form a grid, so that its mean is a sum over few cells with weights that are
products of one factor per axis. `torchvision.ops.roi_align` reads four cells for each sample and
uses one thread; here every cell of a bin is read once, all channels together, by all threads.

Letters: n regions, S side of the features, C channels, H and W size of the map, k samples and K
cells of a bin in one axis.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Cells that are listed at a time.
CHUNK_CELLS = 1 << 21


def gather_regions(feature: Tensor, boxes: Tensor, size: int, scale: float, out: Tensor) -> None:
    """Adaptive, aligned RoIAlign of regions of one image and level.

    Args:
        feature: (C, H, W), channels last in memory.
        boxes: (n, 4) float32 at the scale of the image.
        size: S.
        scale: of the map to the image.
        out: (n, S*S, C) is written, in the dtype of the map.
    """
    channels, height, width = feature.shape
    table = feature.permute(1, 2, 0).reshape(-1, channels)
    starts = boxes * scale - 0.5
    bins = (starts[:, 2:] - starts[:, :2]) / size  # n, 2 for x and y
    counts = bins.ceil().long().clamp(min=0)
    kinds, kind_of = counts.unique(dim=0, return_inverse=True)
    for kind, (across, down) in enumerate(kinds.tolist()):
        rows = torch.nonzero(kind_of == kind)[:, 0]
        if not across or not down:
            out[rows] = 0
            continue
        step = max(1, CHUNK_CELLS // ((across + 1) * (down + 1) * size * size))
        for part in rows.split(step):
            x, share_x = bin_cells(starts[part, 0], bins[part, 0], across, size, width)
            y, share_y = bin_cells(starts[part, 1], bins[part, 1], down, size, height)
            cells = (y * width)[:, :, None, :, None] + x[:, None, :, None, :]  # n, S, S, K, K
            shares = share_y[:, :, None, :, None] * share_x[:, None, :, None, :]
            bags = (len(part) * size * size, -1)
            values = F.embedding_bag(
                cells.view(bags),
                table,
                mode="sum",
                per_sample_weights=shares.view(bags).to(table.dtype),
            )
            out[part] = values.view(len(part), size * size, channels)


def bin_cells(
    start: Tensor, width: Tensor, count: int, size: int, length: int
) -> tuple[Tensor, Tensor]:
    """Cells of every bin along an axis and the share of each.

    Neighbouring samples are at most one cell apart, so that k samples touch k + 1 cells.

    Args:
        start: (n,) of the regions, in cells.
        width: (n,) of a bin.
        count: k.
        size: S.
        length: cells of the map.

    Returns:
        (n, S, K) int32 and float32.
    """
    place = torch.arange(size)[:, None] + (torch.arange(count) + 0.5) / count  # S, k
    samples = start[:, None, None] + place * width[:, None, None]  # n, S, k
    is_inside = (samples >= -1) & (samples <= length)
    samples = samples.clamp(0, length - 1)
    cells = samples[..., :1].floor() + torch.arange(count + 1)  # n, S, K
    shares = (1 - (samples[..., None] - cells[:, :, None]).abs()).clamp(min=0)  # n, S, k, K
    shares = (shares * is_inside[..., None]).sum(2) / count
    return cells.clamp(max=length - 1).int(), shares
