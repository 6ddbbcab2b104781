"""A network that needs no training: it sees objects as patches of colour on a grey background.

The grey of the background is the mean that is subtracted from frames, so that padding is
background too. Objects have the colours of `COLORS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stemseg.config import Config, load_config
from stemseg.model.network import HeadOutputs

GREY = (123, 116, 103)
"""RGB of the background."""
COLORS = ((230, 20, 20), (20, 230, 20), (20, 20, 230), (230, 230, 20))
CONFIGS = {"davis": "davis_2", "ytvis": "youtube_vis", "kittimots": "kitti_mots_2"}


class ColorNetwork:
    """Stands for `STEmSeg`.

    Args:
        dataset: davis, ytvis or kittimots.

    Attributes:
        cfg: of the published model, at a small input size.
        num_encoded: frames that went through the backbone.
        shapes: (N, T) of every call of the decoders.
    """

    def __init__(self, dataset: str = "davis", *, opts: Sequence[str] = ()) -> None:
        small = ["INPUT.MIN_DIM", "48", "INPUT.MAX_DIM", "64"]
        self.cfg: Config = load_config(CONFIGS[dataset], opts=[*small, *opts])
        self.num_encoded = 0
        self.shapes: list[tuple[int, int]] = []

    def backbone(self, frames: Tensor) -> list[Tensor]:
        """Mean colours of patches of 4x4."""
        self.num_encoded += frames.shape[0]
        return [F.avg_pool2d(frames, 4)]

    def decode(self, features: Sequence[Tensor]) -> HeadOutputs:
        """Embeddings are colours, classes are 1 for red objects and 2 for all others."""
        (colors,) = features
        N, _, T, h, w = colors.shape
        self.shapes.append((N, T))
        is_object = colors.abs().sum(1, keepdim=True) > 150
        seediness = torch.where(is_object, 0.96, 0.05)
        num_dims = self.cfg.MODEL.EMBEDDINGS.EMBEDDING_SIZE
        num_free = len(self.cfg.TRAINING.LOSSES.EMBEDDING.FREE_DIM_STDS)
        embeddings = torch.zeros(N, num_dims, T, h, w)
        embeddings[:, :3] = colors / 50
        raw = torch.zeros(N, num_dims - num_free, T, h, w)
        return HeadOutputs(embeddings, raw, seediness, self._logits(colors, is_object))

    def _logits(self, colors: Tensor, is_object: Tensor) -> Tensor | None:
        if not self.cfg.MODEL.USE_SEMSEG_HEAD:
            return None
        N, _, T, h, w = colors.shape
        logits = torch.zeros(N, self.cfg.INPUT.NUM_CLASSES + 1, T, h, w)
        red = is_object[:, 0] & (colors[:, 2] > 50) & (colors[:, 1] < 0)
        logits[:, 0] = torch.where(is_object[:, 0], 0.0, 4.0)
        logits[:, 1] = torch.where(red, 4.0, 0.0)
        logits[:, 2] = torch.where(is_object[:, 0] & ~red, 4.0, 0.0)
        logits[:, -1] = torch.where(is_object[:, 0], 4.0, -4.0)
        return logits

    def to(self, _device: Any) -> ColorNetwork:
        """As of a module."""
        return self


def color_masks(
    num_frames: int, num_objects: int, size: tuple[int, int] = (48, 64), *, side: int = 16
) -> np.ndarray:
    """(K, T, H, W) bool: squares that move to the right, one below the other."""
    height, width = size
    masks = np.zeros((num_objects, num_frames, height, width), bool)
    rows = height // max(num_objects, 1) // 4 * 4
    for k in range(num_objects):
        top = k * rows
        for t in range(num_frames):
            left = min(4 * t % width, width - side)
            masks[k, t, top : top + min(side, rows), left : left + side] = True
    return masks


def color_frames(masks: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) uint8 RGB frames of masks."""
    frames = np.empty((*masks.shape[1:], 3), np.uint8)
    frames[:] = GREY
    for mask, color in zip(masks, COLORS, strict=False):
        frames[mask] = color
    return frames
