"""Masks of instances at the size of the video, from label maps. Source: spec section 9.

Letters: K instances, H and W rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from stemseg.inference.preprocess import FrameGeometry

MAP_STRIDE = 4
"""Pixels of the padded input per pixel of the network's maps."""
_TOGETHER = 8  # masks enlarged in one call: bounds the memory


def instance_masks(
    labels: NDArray[np.integer],
    wanted: Sequence[int],
    geometry: FrameGeometry,
    device: torch.device | str = "cpu",
) -> NDArray[np.bool_]:
    """One mask per label, of the size of the frame.

    Args:
        labels: (H, W) label map at stride 4 of the padded input, or as large as it.
        wanted: labels in the order of the result.
        geometry: sizes of the frame.
        device: where to compute.

    Returns:
        (K, H, W) bool.
    """
    if not wanted:
        return np.zeros((0, *geometry.image), np.bool_)
    at_device = torch.from_numpy(labels.astype(np.int32)).to(device)
    parts = [
        _enlarge(at_device, wanted[i : i + _TOGETHER], geometry)
        for i in range(0, len(wanted), _TOGETHER)
    ]
    masks: NDArray[np.bool_] = np.concatenate([part.cpu().numpy() for part in parts])
    return masks


def _enlarge(labels: Tensor, wanted: Sequence[int], geometry: FrameGeometry) -> Tensor:
    ids = torch.tensor(list(wanted), dtype=labels.dtype, device=labels.device)
    masks = (labels[None] == ids[:, None, None]).float()[None]
    if tuple(labels.shape) != geometry.padded:
        masks = F.interpolate(masks, scale_factor=MAP_STRIDE, mode="bilinear", align_corners=False)
    height, width = geometry.network
    masks = masks[..., :height, :width]
    return F.interpolate(masks, geometry.image, mode="bilinear", align_corners=False)[0] > 0.5
