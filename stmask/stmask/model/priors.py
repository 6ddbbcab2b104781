"""Prior boxes (spec 3.5): the window of the kernel that predicts from them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from stmask.model.settings import NetworkSettings

Levels = Sequence[tuple[int, int]]


def prior_boxes(levels: Levels, settings: NetworkSettings, device: torch.device) -> Tensor:
    """Priors of all levels; they depend on sizes only, so they are computed once for each.

    Args:
        levels: height and width of every level.
        settings: of the network; kernels and scales are read.
        device: where they are wanted.

    Returns:
        (N, 4) centres and sizes in units of the padded image, level after level, row-major, the
        anchors of a position one after another: kernel, then scale. Not to be written to.
    """
    return _cached(tuple(levels), settings.kernels, settings.anchor_scales, device)


@lru_cache(maxsize=32)
def _cached(
    levels: tuple[tuple[int, int], ...],
    kernels: tuple[tuple[int, int], ...],
    scales: tuple[float, ...],
    device: torch.device,
) -> Tensor:
    # Made in inference mode they could not be used in training later.
    with torch.inference_mode(False):
        boxes = [_level(height, width, kernels, scales) for height, width in levels]
        return torch.cat(boxes).to(device)


def _level(
    height: int, width: int, kernels: Sequence[tuple[int, int]], scales: Sequence[float]
) -> Tensor:
    rows = (torch.arange(height, dtype=torch.float64) + 0.5) / height
    columns = (torch.arange(width, dtype=torch.float64) + 0.5) / width
    # Width and height of the kernel's window, in cells of this level.
    sizes = [[kw * s / width, kh * s / height] for kh, kw in kernels for s in scales]
    size = torch.tensor(sizes, dtype=torch.float64)  # A, 2
    centre = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1)  # h, w, 2
    shape = (height, width, len(sizes), 2)
    pair = [centre[:, :, None].expand(shape), size.expand(shape)]
    return torch.cat(pair, -1).float().view(-1, 4)
