"""Ground truth at the resolution of the network's maps (spec section 7.7).

Axes: N clips, I instances, T frames, H and W of the input, h = H / 4 and w = W / 4 of the maps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stemseg.losses import MapTargets
from stemseg.model.network import HeadOutputs

#: Input pixels per pixel of the finest map.
MAP_STRIDE = 4


def rescale_masks(masks: Tensor) -> Tensor:
    """Masks at a quarter of the resolution: set where all four contributing pixels are.

    Args:
        masks: (I, T, H, W) or (T, H, W), 0 or 1; H and W multiples of 4.

    Returns:
        The same with (h, w), uint8.
    """
    scale = 1.0 / MAP_STRIDE
    planes = masks.reshape(-1, 1, *masks.shape[-2:]).float()  # I*T, 1, H, W
    if not len(planes):
        height, width = (side // MAP_STRIDE for side in masks.shape[-2:])
        return masks.new_zeros((*masks.shape[:-2], height, width), dtype=torch.uint8)
    small = F.interpolate(planes, scale_factor=(scale, scale), mode="bilinear", align_corners=False)
    # Truncated, not rounded: the mean of four reaches 1 only where all of them are 1.
    return small.to(torch.uint8).reshape(*masks.shape[:-2], *small.shape[-2:])


def class_map(masks: Tensor, category_ids: Tensor) -> Tensor:
    """Class of every pixel; where instances overlap, the higher class id.

    Args:
        masks: (I, T, h, w), 0 or 1.
        category_ids: (I,) from 1 on.

    Returns:
        (T, h, w) int64, 0 for background.
    """
    if not len(masks):
        return torch.zeros(masks.shape[1:], dtype=torch.int64, device=masks.device)
    ids = category_ids.to(masks.device, torch.int64)
    return (masks.long() * ids[:, None, None, None]).amax(0)


def make_targets(
    masks: Sequence[Tensor],
    ignore_masks: Sequence[Tensor],
    category_ids: Sequence[Tensor],
    *,
    full_resolution: bool = False,
) -> list[MapTargets]:
    """Targets of a batch, on the device of the masks.

    Args:
        masks: per clip (I, T, H, W).
        ignore_masks: per clip (T, H, W).
        category_ids: per clip (I,).
        full_resolution: keep the resolution (config key TRAINING.LOSS_AT_FULL_RES).
    """
    targets = []
    for instance_masks, ignore, ids in zip(masks, ignore_masks, category_ids, strict=True):
        if not full_resolution:
            instance_masks, ignore = rescale_masks(instance_masks), rescale_masks(ignore)
        targets.append(MapTargets(instance_masks, ignore, class_map(instance_masks, ids)))
    return targets


def upsample_heads(heads: HeadOutputs) -> HeadOutputs:
    """Maps at the resolution of the input, in float32 (config key TRAINING.LOSS_AT_FULL_RES).

    Args:
        heads: maps (N, C, T, h, w).

    Returns:
        Maps (N, C, T, H, W).
    """
    logits = heads.semseg_logits
    return HeadOutputs(
        _upsample(heads.embeddings),
        _upsample(heads.raw_bandwidths),
        _upsample(heads.seediness),
        None if logits is None else _upsample(logits),
    )


def _upsample(maps: Tensor) -> Tensor:
    scale = (1.0, float(MAP_STRIDE), float(MAP_STRIDE))
    return F.interpolate(maps.float(), scale_factor=scale, mode="trilinear", align_corners=False)
