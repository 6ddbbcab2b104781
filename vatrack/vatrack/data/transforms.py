"""From a frame and its objects to the tensors of a training, both frames of a pair alike (4.6).

Letters: H, W size of the padded frame, h, w of the resized one, G objects.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vatrack.data.annotations import FrameObjects
from vatrack.data.settings import PipelineSettings
from vatrack.losses.batch import FrameTargets
from vatrack.pixels import (
    fitted_size,
    padded_size,
    resize_image,
    resize_mask,
    scale_factor,
    to_network,
)
from vidseg_common import rle


def prepare_frame(
    image: NDArray[np.uint8],
    objects: FrameObjects,
    match: NDArray[np.int64],
    settings: PipelineSettings,
    *,
    is_flipped: bool,
    with_masks: bool = True,
) -> tuple[Tensor, FrameTargets]:
    """Resizes, mirrors, normalises and pads a frame and its objects.

    Args:
        image: (H, W, 3) RGB as it is on disk.
        objects: of the frame.
        match: (G,) row of each in the other frame of the pair.
        settings: of the pipeline.
        is_flipped: mirror left and right.
        with_masks: also prepare the masks, which reference frames do without.

    Returns:
        (3, H, W) float32, and the targets.
    """
    old_hw = image.shape[0], image.shape[1]
    new_hw = fitted_size(old_hw, settings.img_scale)
    pad_hw = padded_size(new_hw, settings.size_divisor)
    resized = resize_image(image, new_hw)
    if is_flipped:
        resized = np.ascontiguousarray(resized[:, ::-1])
    pixels = to_network(resized, settings.size_divisor, settings.mean, settings.std)

    def boxes(values: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(_boxes(values, scale_factor(old_hw, new_hw), new_hw, is_flipped))

    def masks(values: Sequence[rle.RLE] | None) -> Tensor | None:
        if values is None or not with_masks:
            return None
        return torch.from_numpy(_masks(values, new_hw, pad_hw, is_flipped))

    visible = objects.visible_boxes
    targets = FrameTargets(
        boxes=boxes(objects.boxes),
        labels=torch.from_numpy(objects.labels),
        match=torch.from_numpy(match),
        img_shape=new_hw,
        pad_shape=pad_hw,
        masks=masks(objects.masks),
        amodal_masks=masks(objects.amodal_masks),
        visible_boxes=None if visible is None else boxes(visible),
    )
    return torch.from_numpy(pixels), targets


def _boxes(
    boxes: NDArray[np.float32],
    factor: NDArray[np.float32],
    size_hw: tuple[int, int],
    is_flipped: bool,
) -> NDArray[np.float32]:
    height, width = size_hw
    made = boxes * factor
    made[:, 0::2] = made[:, 0::2].clip(0, width)
    made[:, 1::2] = made[:, 1::2].clip(0, height)
    if is_flipped:
        made[:, [0, 2]] = width - made[:, [2, 0]]
    return made


def _masks(
    masks: Sequence[rle.RLE],
    new_hw: tuple[int, int],
    pad_hw: tuple[int, int],
    is_flipped: bool,
) -> NDArray[np.uint8]:
    made = np.zeros((len(masks), *pad_hw), np.uint8)  # G, H, W
    for row, mask in enumerate(masks):
        resized = resize_mask(rle.decode(mask).astype(np.uint8), new_hw)
        made[row, : new_hw[0], : new_hw[1]] = resized[:, ::-1] if is_flipped else resized
    return made
