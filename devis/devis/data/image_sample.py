"""An image with its instances while it is transformed (spec 3.1, 4.1, 4.2).

H and W size, n instances. Masks may overlap, so each is an image of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from devis.data.clip_sample import Floats, Image
from devis.data.clip_target import centred
from devis.data.items import ImageTarget
from devis.data.resize import stretch, target_size
from devis.data.sizes import Window


@dataclass(frozen=True)
class ImageSample:
    """An image and its instances.

    Attributes:
        image: (H, W, 3) in the order red, green, blue.
        boxes: (n, 4) corners x, y, x, y in pixels.
        labels: (n) classes from 1.
        masks: (n, H, W) of 0 and 1; None where masks are not trained.
    """

    image: Image
    boxes: Floats
    labels: NDArray[np.int64]
    masks: NDArray[np.uint8] | None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.image.shape[:2]
        return height, width

    def keep(self, chosen: NDArray[np.bool_]) -> ImageSample:
        """With some of the instances, by (n) booleans."""
        masks = None if self.masks is None else self.masks[chosen]
        return replace(self, boxes=self.boxes[chosen], labels=self.labels[chosen], masks=masks)


def flip(sample: ImageSample) -> ImageSample:
    """Left becomes right."""
    _, width = sample.size
    left, top, right, bottom = sample.boxes.T
    return replace(
        sample,
        image=np.ascontiguousarray(sample.image[:, ::-1]),
        boxes=np.stack([width - right, top, width - left, bottom], axis=1),
        masks=None if sample.masks is None else np.ascontiguousarray(sample.masks[..., ::-1]),
    )


def resize(sample: ImageSample, shorter: int, longest: float | None) -> ImageSample:
    """The image with bilinear, masks with nearest interpolation.

    Args:
        sample: the image.
        shorter: wanted length of the shorter side.
        longest: largest length of the longer side, which wins; None sets no limit.
    """
    (before_height, before_width), size = sample.size, target_size(*sample.size, shorter, longest)
    if size == sample.size:
        return sample
    scale = np.array([size[1] / before_width, size[0] / before_height] * 2, np.float32)
    masks = sample.masks
    if masks is not None:
        given = torch.from_numpy(masks)[:, None]
        # Nothing can be interpolated where there is no instance.
        masks = F.interpolate(given, size).numpy()[:, 0] if len(masks) else _no_masks(size)
    return replace(
        sample, image=stretch(sample.image, size), boxes=sample.boxes * scale, masks=masks
    )


def _no_masks(size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.zeros((0, *size), np.uint8)


def crop(sample: ImageSample, window: Window) -> ImageSample:
    """A part of the image, with the instances that have a pixel in it.

    Where masks are not trained, those stay whose box has an area in it.
    """
    top, left, height, width = window
    rows, columns = slice(top, top + height), slice(left, left + width)
    moved = sample.boxes - np.array([left, top, left, top], np.float32)
    boxes = np.clip(moved, 0, np.array([width, height, width, height], np.float32))
    cut = replace(
        sample,
        image=np.ascontiguousarray(sample.image[rows, columns]),
        boxes=boxes,
        masks=None
        if sample.masks is None
        else np.ascontiguousarray(sample.masks[:, rows, columns]),
    )
    if cut.masks is not None:
        return cut.keep(np.asarray(cut.masks.any((1, 2))))
    return cut.keep(np.asarray((boxes[:, 2:] > boxes[:, :2]).all(1)))


def image_target(sample: ImageSample) -> ImageTarget:
    """What an image is trained on."""
    height, width = sample.size
    boxes = centred(sample.boxes) / np.array([width, height, width, height], np.float32)
    return ImageTarget(
        boxes=torch.from_numpy(boxes),
        labels=torch.from_numpy(sample.labels - 1),
        masks=None if sample.masks is None else torch.from_numpy(sample.masks).bool(),
        size=(height, width),
    )
