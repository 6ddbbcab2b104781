"""Frames, masks and boxes at the size of the network, in training and inference. Source: spec 8.1.

Letters: H rows, W columns, n objects. Images are (H, W, 3) uint8 in the order red, green, blue
(resizing treats channels alike, so it does not matter when the order was changed).
"""

from __future__ import annotations

import cv2
import numpy as np

#: (width, height) to which every frame is stretched.
IMAGE_SIZE = (640, 360)
#: Sides of the network's input are multiples of this.
SIZE_DIVISOR = 32

#: Mean and deviation of red, green and blue by which images are normalised.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def _make_table() -> np.ndarray:
    """Normalised value of each of the 256 values by channel, rounded as step by step.

    Subtraction and multiplication by the reciprocal are each done in double precision and stored
    in single.
    """
    values = np.arange(256, dtype=np.float64)[:, None]
    shifted = (values - np.array(MEAN)).astype(np.float32)
    return (shifted.astype(np.float64) * (1.0 / np.array(STD))).astype(np.float32)[None]


_TABLE = _make_table()


def resize_image(image: np.ndarray, size: tuple[int, int] = IMAGE_SIZE) -> np.ndarray:
    """Stretches an image bilinearly, in 8 bits.

    Args:
        image: (H, W, 3) uint8.
        size: (width, height).
    """
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def resize_mask(mask: np.ndarray, size: tuple[int, int] = IMAGE_SIZE) -> np.ndarray:
    """Stretches a (H, W) uint8 mask to (width, height) by the nearest pixel."""
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def padded_size(height: int, width: int, divisor: int = SIZE_DIVISOR) -> tuple[int, int]:
    """(height, width), each rounded up to a multiple of the divisor."""
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor


def to_network(image: np.ndarray, divisor: int = SIZE_DIVISOR) -> np.ndarray:
    """Normalises an image and pads it, right and bottom, with zeros: the mean colour.

    Args:
        image: (H, W, 3) uint8, red first.
        divisor: of the padded sides.

    Returns:
        (3, H', W') float32, contiguous.
    """
    height, width = image.shape[:2]
    padded = np.zeros((3, *padded_size(height, width, divisor)), np.float32)
    padded[:, :height, :width] = cv2.LUT(image, _TABLE).transpose(2, 0, 1)
    return padded


def pad_mask(mask: np.ndarray, divisor: int = SIZE_DIVISOR) -> np.ndarray:
    """Pads a (H, W) mask, right and bottom, with zeros to multiples of the divisor."""
    height, width = mask.shape
    padded = np.zeros(padded_size(height, width, divisor), mask.dtype)
    padded[:height, :width] = mask
    return padded


def scale_factors(old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """(4,) float32 by which corners (x1, y1, x2, y2) grow when (width, height) does."""
    across, down = new[0] / old[0], new[1] / old[1]
    return np.array([across, down, across, down], np.float32)


def place_boxes(
    boxes: np.ndarray,
    old: tuple[int, int],
    new: tuple[int, int],
    *,
    is_flipped: bool = False,
    divisor: int = SIZE_DIVISOR,
) -> np.ndarray:
    """Boxes of a frame as shares of the padded image that the network sees.

    Args:
        boxes: (n, 4) float32 corners (x1, y1, x2, y2) in pixels of the frame.
        old: (width, height) of the frame.
        new: (width, height) of the stretched frame.
        is_flipped: the stretched frame was mirrored left to right.
        divisor: of the padded sides.

    Returns:
        (n, 4) float32 corners, cut at the stretched frame.
    """
    width, height = new
    scaled = boxes.astype(np.float32) * scale_factors(old, new)
    if is_flipped:
        scaled[:, [0, 2]] = width - 1 - scaled[:, [2, 0]]
    scaled[:, 0::2] = scaled[:, 0::2].clip(0, width)
    scaled[:, 1::2] = scaled[:, 1::2].clip(0, height)
    down, across = padded_size(height, width, divisor)
    return np.asarray(scaled / np.array([across, down, across, down], np.float32), np.float32)
