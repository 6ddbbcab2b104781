"""Anchors of the proposal network (spec 2.3).

Letters: A anchors per position, h and w size of a level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from vatrack.model.settings import ModelSettings


def base_anchors(stride: int, settings: ModelSettings) -> Tensor:
    """Anchors (A, 4) of the position at the origin; their centre is at (0, 0)."""
    ratios = torch.tensor(settings.anchor_ratios)
    height = ratios.sqrt()
    sides = torch.stack([1 / height, height], 1) * (stride * settings.anchor_scale)
    return torch.cat([-sides / 2, sides / 2], 1)


@lru_cache(maxsize=64)
def level_anchors(
    size_hw: tuple[int, int], stride: int, settings: ModelSettings, device: torch.device
) -> Tensor:
    """Anchors (h*w*A, 4) of a level, by rows, columns, ratios; shared, not to be written to."""
    # A tensor of inference mode could not be used by a training step later.
    with torch.inference_mode(mode=False):
        y = torch.arange(size_hw[0], dtype=torch.float32) * stride
        x = torch.arange(size_hw[1], dtype=torch.float32) * stride
        places = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)  # h, w, 2
        shifts = places.repeat(1, 1, 2)[:, :, None]  # h, w, 1, 4
        return (shifts + base_anchors(stride, settings)).view(-1, 4).to(device)


def valid_anchors(
    size_hw: tuple[int, int], stride: int, pad_shape: Sequence[int], num_anchors: int
) -> Tensor:
    """Flags (h*w*A,) of the anchors whose position lies within (height, width, ...) of an image."""
    rows = torch.arange(size_hw[0]) < min(math.ceil(pad_shape[0] / stride), size_hw[0])
    columns = torch.arange(size_hw[1]) < min(math.ceil(pad_shape[1] / stride), size_hw[1])
    return (rows[:, None] & columns)[..., None].expand(-1, -1, num_anchors).reshape(-1)
