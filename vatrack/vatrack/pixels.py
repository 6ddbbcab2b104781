"""Frames as the network takes them: resized, normalised, padded (spec 4.6).

Letters: H and W size of a frame, h and w size when it is resized.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

#: Longer and shorter side that frames are fitted into.
IMG_SCALE = (1280, 800)
SIZE_DIVISOR = 32
#: Of the channels R, G, B.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def fitted_size(
    size_hw: tuple[int, int], img_scale: tuple[int, int] = IMG_SCALE
) -> tuple[int, int]:
    """Size (h, w) of a frame (H, W) that is enlarged or shrunk to fit, its aspect kept."""
    height, width = size_hw
    factor = min(max(img_scale) / max(size_hw), min(img_scale) / min(size_hw))
    return int(height * factor + 0.5), int(width * factor + 0.5)


def scale_factor(size_hw: tuple[int, int], new_hw: tuple[int, int]) -> NDArray[np.float32]:
    """How much x1, y1, x2, y2 grow by a resize, (4,)."""
    across, down = new_hw[1] / size_hw[1], new_hw[0] / size_hw[0]
    return np.array([across, down, across, down], np.float32)


def resize_image(image: NDArray[np.uint8], new_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Bilinear resize of (H, W, 3)."""
    if image.shape[:2] == tuple(new_hw):
        return image
    resized = cv2.resize(image, new_hw[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def resize_mask(mask: NDArray[np.uint8], new_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Nearest resize of (H, W)."""
    if mask.shape == tuple(new_hw):
        return mask
    resized = cv2.resize(mask, new_hw[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized, np.uint8)


def padded_size(size_hw: tuple[int, int], divisor: int = SIZE_DIVISOR) -> tuple[int, int]:
    """The size rounded up to multiples of the divisor."""
    return -(-size_hw[0] // divisor) * divisor, -(-size_hw[1] // divisor) * divisor


def to_network(
    image: NDArray[np.uint8],
    divisor: int = SIZE_DIVISOR,
    mean: tuple[float, float, float] = MEAN,
    std: tuple[float, float, float] = STD,
) -> NDArray[np.float32]:
    """RGB (h, w, 3) to (3, H', W') float32, normalised, zeros right and below."""
    height, width = image.shape[:2]
    padded = np.zeros((3, *padded_size((height, width), divisor)), np.float32)
    # Every level has one result, so that a table gives the same numbers as arithmetic.
    padded[:, :height, :width] = cv2.LUT(image, _table(mean, std)).transpose(2, 0, 1)
    return padded


@lru_cache(maxsize=8)
def _table(
    mean: tuple[float, float, float], std: tuple[float, float, float]
) -> NDArray[np.float32]:
    levels = np.arange(256, dtype=np.float64)[:, None]
    centred = (levels - np.array(mean)).astype(np.float32)
    return (centred * (1 / np.array(std))).astype(np.float32)[None]
