"""A frame as the network takes it, and the sizes it has on the way. Source: spec section 8.1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stmask.pixels import IMAGE_SIZE, SIZE_DIVISOR, padded_size, resize_image, to_network
from vidseg_common.errors import VideoError


@dataclass(frozen=True)
class FrameGeometry:
    """Sizes (height, width) of a frame on its way through the network.

    Attributes:
        ori_hw: the frame as it is.
        img_hw: stretched.
        pad_hw: with zeros right and below.
    """

    ori_hw: tuple[int, int]
    img_hw: tuple[int, int]
    pad_hw: tuple[int, int]


def prepare(
    frame: np.ndarray, image_size: tuple[int, int] = IMAGE_SIZE, divisor: int = SIZE_DIVISOR
) -> tuple[Tensor, FrameGeometry]:
    """Stretches, normalises and pads a frame.

    Args:
        frame: (H, W, 3) uint8 RGB of any size.
        image_size: (width, height) to stretch it to, whatever its aspect.
        divisor: of the padded sides.

    Returns:
        (3, H', W') float32, and all sizes.

    Raises:
        VideoError: the array is no such frame, or has no pixel.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise VideoError(
            f"frame: expected RGB uint8 (H, W, 3), got {frame.dtype} {tuple(frame.shape)}"
        )
    if not frame.size:
        raise VideoError(f"frame: expected at least one pixel, got shape {tuple(frame.shape)}")
    width, height = image_size
    pixels = to_network(resize_image(np.ascontiguousarray(frame), image_size), divisor)
    geometry = FrameGeometry(
        ori_hw=(frame.shape[0], frame.shape[1]),
        img_hw=(height, width),
        pad_hw=padded_size(height, width, divisor),
    )
    return torch.from_numpy(pixels), geometry
