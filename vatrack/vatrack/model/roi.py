"""Features of regions of interest (spec 2.6).

Letters: n regions, C channels, S side of the features, h and w size of a level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from vatrack.model.settings import ModelSettings

#: Levels that regions are taken from: P2 to P5.
NUM_LEVELS = 4


def to_rois(boxes: Sequence[Tensor]) -> Tensor:
    """Boxes (n, 4 or more) of every image as (N, 5): index of the image, box."""
    parts = [torch.cat([b.new_full((len(b), 1), i), b[:, :4]], 1) for i, b in enumerate(boxes)]
    return torch.cat(parts)


def roi_levels(rois: Tensor, finest_scale: int = 56) -> Tensor:
    """Level (n,) int64 of every region (n, 5), 0 for P2 to 3 for P5."""
    scale = ((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2])).sqrt()
    levels = (scale / finest_scale + 1e-6).log2().floor()
    return levels.clamp(0, NUM_LEVELS - 1).long()


def roi_features(
    levels: Sequence[Tensor], rois: Tensor, size: int, settings: ModelSettings
) -> Tensor:
    """Features of every region from the map that suits its size.

    Args:
        levels: P2.., each (B, C, h, w).
        rois: (n, 5), index of the image and box at the network's scale; none is fine.
        size: S of the result.
        settings: of the network.

    Returns:
        (n, C, S, S).
    """
    level_of = roi_levels(rois, settings.finest_scale)
    out = levels[0].new_zeros((len(rois), levels[0].shape[1], size, size))
    for i in range(NUM_LEVELS):
        rows = torch.nonzero(level_of == i)[:, 0]
        if not len(rows):
            # A sum of nothing keeps every level in the graph, for distributed training.
            out = out + levels[i].sum() * 0 if levels[i].requires_grad else out
            continue
        scale = 1 / settings.strides[i]
        part = roi_align(levels[i], rois[rows].to(levels[i]), size, scale, 0, aligned=True)
        out = out.index_copy(0, rows, part)
    return out
