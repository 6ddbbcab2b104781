"""A frame as the network takes it, and the sizes it has on the way (spec 4.6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vatrack.inference.settings import InferenceSettings
from vatrack.pixels import fitted_size, padded_size, resize_image, scale_factor, to_network
from vidseg_common.errors import VideoError


@dataclass(frozen=True)
class FrameGeometry:
    """Sizes (height, width) of a frame on its way through the network.

    Attributes:
        ori_hw: the frame as it is.
        img_hw: resized.
        pad_hw: with zeros right and below.
        scale_factor: (4,) how much x1, y1, x2, y2 grow by the resize.
    """

    ori_hw: tuple[int, int]
    img_hw: tuple[int, int]
    pad_hw: tuple[int, int]
    scale_factor: NDArray[np.float32]


def prepare(
    frame: NDArray[np.uint8], settings: InferenceSettings | None = None
) -> tuple[Tensor, FrameGeometry]:
    """Resizes, normalises and pads a frame.

    Args:
        frame: (H, W, 3) uint8 RGB of any size.
        settings: of inference; None has the published ones.

    Returns:
        (3, H', W') float32, and all sizes.

    Raises:
        VideoError: the array is no such frame, or has no pixel.
    """
    settings = settings or InferenceSettings()
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise VideoError(
            f"frame: expected RGB uint8 (H, W, 3), got {frame.dtype} {tuple(frame.shape)}"
        )
    if not frame.size:
        raise VideoError(f"frame: expected at least one pixel, got shape {tuple(frame.shape)}")
    ori_hw = (frame.shape[0], frame.shape[1])
    img_hw = fitted_size(ori_hw, settings.img_scale)
    if min(img_hw) < 1:
        raise VideoError(f"frame: {ori_hw[0]}x{ori_hw[1]} is too long to fit {settings.img_scale}")
    resized = resize_image(np.ascontiguousarray(frame), img_hw)
    pixels = to_network(resized, settings.size_divisor, settings.mean, settings.std)
    geometry = FrameGeometry(
        ori_hw, img_hw, padded_size(img_hw, settings.size_divisor), scale_factor(ori_hw, img_hw)
    )
    return torch.from_numpy(pixels), geometry
