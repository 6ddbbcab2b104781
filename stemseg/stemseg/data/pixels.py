"""Frames and masks at the size of the network. Source: spec 7.3, 8 (pre-processing).

Letters: N frames or masks, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from stemseg.config import Config

_MASK_CHUNK = 64  # masks that are held as float at once


def network_size(width: int, height: int, min_dim: int, max_dim: int) -> tuple[int, int]:
    """Size of a frame in the network, before padding.

    The shorter side becomes `min_dim`, unless the longer one would exceed `max_dim`.

    Returns:
        (width, height), rounded half to even.
    """
    scale = min_dim / min(width, height)
    if max(width, height) * scale > max_dim:
        scale = max_dim / max(width, height)
    return round(width * scale), round(height * scale)


@dataclass(frozen=True)
class PixelOptions:
    """How frames are resized and normalised.

    Attributes:
        min_dim: wanted length of the shorter side in pixels.
        max_dim: largest length of the longer side in pixels.
        mean: subtracted from blue, green, red.
        std: divides blue, green, red.
        to_unit_scale: divide by 255 first.
        bgr: the network takes blue, green, red; otherwise channels are reversed at the end.
    """

    min_dim: int
    max_dim: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    to_unit_scale: bool = False
    bgr: bool = True

    @classmethod
    def of(cls, cfg: Config) -> PixelOptions:
        """The options of the section INPUT of a configuration."""
        return cls(
            min_dim=cfg.INPUT.MIN_DIM,
            max_dim=cfg.INPUT.MAX_DIM,
            mean=tuple(cfg.INPUT.IMAGE_MEAN),
            std=tuple(cfg.INPUT.IMAGE_STD),
            to_unit_scale=cfg.INPUT.NORMALIZE_TO_UNIT_SCALE,
            bgr=cfg.INPUT.BGR_INPUT,
        )

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of a frame in the network."""
        return network_size(width, height, self.min_dim, self.max_dim)

    def normalise(self, frames: torch.Tensor) -> torch.Tensor:
        """Normalises (N, 3, H, W) float frames in the order blue, green, red of 0..255."""
        if self.to_unit_scale:
            frames = frames / 255.0
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        frames = (frames - mean) / std
        return frames if self.bgr else frames.flip(1)

    def restore(self, frames: torch.Tensor) -> np.ndarray:
        """Undoes `normalise`, for pictures: (N, H, W, 3) uint8 in the order blue, green, red."""
        frames = frames if self.bgr else frames.flip(1)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        frames = (frames * std + mean) * (255.0 if self.to_unit_scale else 1.0)
        return frames.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def frames_to_tensor(frames: Sequence[np.ndarray]) -> torch.Tensor:
    """(N, 3, H, W) float32 of N (H, W, 3) uint8 frames."""
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float()


def resize_frames(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resizes (N, 3, H, W) float frames bilinearly, without antialiasing.

    Args:
        frames: the frames.
        size: (width, height).
    """
    width, height = size
    return F.interpolate(frames, (height, width), mode="bilinear", align_corners=False)


def resize_masks(masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resizes masks bilinearly; a pixel is set where the result exceeds one half.

    Args:
        masks: (N, H, W) uint8, 0 or 1; N may be 0.
        size: (width, height).

    Returns:
        (N, height, width) uint8.
    """
    width, height = size
    resized = masks.new_zeros((len(masks), height, width))
    for start in range(0, len(masks), _MASK_CHUNK):
        part = masks[start : start + _MASK_CHUNK, None].float()
        part = F.interpolate(part, (height, width), mode="bilinear", align_corners=False)
        resized[start : start + _MASK_CHUNK] = (part[:, 0] > 0.5).byte()
    return resized
