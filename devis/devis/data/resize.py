"""Sizes, normalising and padding of what enters the network (spec section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

#: Per channel, in the order red, green, blue, of images in 0 to 1.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CHANNELS = 3


class Padded(NamedTuple):
    """Images of one size.

    Attributes:
        images: (N, 3, H, W), zero where there is no image.
        mask: (N, H, W) bool, true where there is no image.
    """

    images: Tensor
    mask: Tensor


def target_size(height: int, width: int, shorter: int, longest: float | None) -> tuple[int, int]:
    """Height and width after resizing; the rounding is that of the published results.

    Args:
        height: of the image.
        width: of the image.
        shorter: wanted length of the shorter side.
        longest: largest length of the longer side, which wins; None sets no limit.
    """
    short, long = sorted((height, width))
    if longest is not None and shorter * long / short > longest:
        shorter = max(round(longest * short / long), 1)
    if short == shorter:
        return height, width
    other = int(shorter * long / short)
    return (shorter, other) if height < width else (other, shorter)


def preprocess(image: NDArray[np.uint8], shorter: int, longest: int | None) -> Tensor:
    """An image as the network takes it at test time.

    Args:
        image: (H, W, 3) in the order red, green, blue.
        shorter: as for `target_size`.
        longest: as for `target_size`.

    Returns:
        (3, h, w) float32, normalised.
    """
    size = target_size(image.shape[0], image.shape[1], shorter, longest)
    return normalise(stretch(image, size))


def stretch(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image (H, W, 3) of another height and width, bilinear and without aliasing."""
    if image.shape[:2] == size:
        return image
    resized = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized)


def normalise(image: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) in 0 to 255 to (3, H, W) float32 with mean and spread taken out."""
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    scaled = tensor.to(torch.float32).div(255)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return scaled.sub_(mean).div_(std)


def pad_batch(samples: Sequence[Tensor]) -> Padded:
    """Images or clips of different sizes, padded at the bottom and the right to the largest.

    Args:
        samples: (3 T, h, w) each: an image, or the frames of a clip one after the other.
    """
    images = [image for sample in samples for image in sample.split(CHANNELS)]
    height, width = (max(image.shape[side] for image in images) for side in (1, 2))
    batch = images[0].new_zeros(len(images), CHANNELS, height, width)
    mask = torch.ones(len(images), height, width, dtype=torch.bool, device=batch.device)
    for index, image in enumerate(images):
        batch[index, :, : image.shape[1], : image.shape[2]] = image
        mask[index, : image.shape[1], : image.shape[2]] = False
    return Padded(batch, mask)


def to_picture(image: Tensor) -> NDArray[np.uint8]:
    """(3, H, W) that `normalise` made back to (H, W, 3) in 0 to 255."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    values = (image * std + mean).mul(255).round().clamp(0, 255)
    return values.permute(1, 2, 0).to(torch.uint8).contiguous().numpy()
