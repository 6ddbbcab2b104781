"""A predictor that needs no network: it sees objects as colours on a grey background."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from stmask.inference.detections import Detections
from stmask.inference.postprocess import FrameResult
from stmask.inference.settings import InferenceSettings

GREY = 110
#: Colours of the objects; object i has the id i and class i + 1.
COLORS = ((230, 20, 20), (20, 230, 20), (20, 20, 230))
SCORES = (0.9, 0.8, 0.2)


class ColorPredictor:
    """Stands for `Predictor`.

    Attributes:
        num_resets: videos begun.
        sizes: (H, W) of every frame since the last reset.
        detections: of the last frame; one prototype for each object.
    """

    def __init__(self, *, with_masks: bool = True) -> None:
        self.with_masks = with_masks
        self.num_resets = 0
        self.sizes: list[tuple[int, ...]] = []
        self.detections: Detections | None = None
        self.network: Any = torch.nn.Identity()
        self.settings = InferenceSettings(eval_mask_branch=self.with_masks)
        self.device = torch.device("cpu")

    def reset(self) -> None:
        """As of the real one."""
        self.num_resets += 1
        self.sizes = []

    def step(self, frame: np.ndarray) -> FrameResult:
        """Every object of which a pixel is seen; colours may be off by what JPEG does."""
        self.sizes.append(frame.shape[:2])
        distances = [np.abs(frame.astype(int) - color).max(2) for color in COLORS]
        masks = np.stack([distance < 60 for distance in distances])
        rows = np.flatnonzero(masks.any((1, 2)))
        self.detections = _detections(masks[rows], rows)
        kept = masks[rows] if self.with_masks else np.zeros((len(rows), 0, 0), bool)
        scores = np.array(SCORES, np.float32)[rows]
        return FrameResult(rows, rows + 1, scores, _boxes(masks[rows]), kept)


def _boxes(masks: np.ndarray) -> np.ndarray:
    boxes = np.zeros((len(masks), 4), np.int64)
    for i, mask in enumerate(masks):
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        boxes[i] = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return boxes


def _detections(masks: np.ndarray, rows: np.ndarray) -> Detections:
    n = len(rows)
    soft = torch.from_numpy(masks[:, ::4, ::4].astype(np.float32))
    height, width = -(-masks.shape[1] // 4), -(-masks.shape[2] // 4)
    proto = torch.zeros(height, width, len(COLORS))
    for i, row in enumerate(rows):
        proto[..., row] = soft[i]
    coeffs = 4 * torch.nn.functional.one_hot(torch.from_numpy(rows), len(COLORS)).float()
    empty = torch.zeros(n)
    return Detections(
        ids=torch.from_numpy(rows), boxes=torch.zeros(n, 4), coeffs=coeffs,
        track=torch.zeros(n, 2), classes=torch.from_numpy(rows + 1), scores=empty,
        centerness=empty, masks=soft, proto=proto,
    )  # fmt: skip


def color_masks(num_frames: int, num_objects: int, size: tuple[int, int] = (48, 80)) -> np.ndarray:
    """(K, T, H, W) bool: squares that move to the right, one below the other."""
    masks = np.zeros((num_objects, num_frames, *size), bool)
    side = size[0] // 4
    for k in range(num_objects):
        top = 2 + k * (side + 3)
        for t in range(num_frames):
            left = 4 + 3 * t
            masks[k, t, top : top + side, left : left + 2 * side] = True
    return masks


def color_frames(masks: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) uint8 RGB frames of masks."""
    frames = np.full((*masks.shape[1:], 3), GREY, np.uint8)
    for mask, color in zip(masks, COLORS, strict=False):
        frames[mask] = color
    return frames
