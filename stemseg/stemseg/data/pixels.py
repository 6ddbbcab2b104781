"""Frames and masks at the size of the network. Source: spec 7.3, 7.4.

Letters: N frames or masks, H rows, W columns. Sizes are (height, width).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

_MASK_CHUNK = 64  # masks that are held as float at once


def frames_to_tensor(frames: Sequence[np.ndarray]) -> torch.Tensor:
    """(N, 3, H, W) float32 of N (H, W, 3) uint8 frames."""
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float()


def resize_frames(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resizes (N, 3, H, W) float frames bilinearly, without antialiasing."""
    return F.interpolate(frames, size, mode="bilinear", align_corners=False)


def resize_masks(masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resizes masks bilinearly; a pixel is set where the result exceeds one half.

    Args:
        masks: (N, H, W) uint8, 0 or 1; N may be 0.
        size: wanted (height, width).

    Returns:
        (N, height, width) uint8.
    """
    resized = masks.new_zeros((len(masks), *size))
    for start in range(0, len(masks), _MASK_CHUNK):
        part = masks[start : start + _MASK_CHUNK, None].float()
        part = F.interpolate(part, size, mode="bilinear", align_corners=False)
        resized[start : start + _MASK_CHUNK] = (part[:, 0] > 0.5).byte()
    return resized
