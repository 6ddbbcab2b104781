"""Pictures of training samples: what the network is given and is to find (spec 8.5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch

from devis.data.items import ClipItem, ImageItem
from devis.data.resize import to_picture
from devis.losses import Target
from devis.losses.boxes import corners
from devis.outputs.drawing import Image, color_of, draw_box, paint, write

_WEIGHT = 0.5


def item_pictures(
    item: ClipItem | ImageItem, target: Target, names: Mapping[int, str]
) -> Iterator[Image]:
    """The frames of a clip, or an image, with masks, boxes and classes of the instances.

    Args:
        item: the sample.
        target: its instances, see `devis.data.items.to_target`.
        names: of the classes from 1.
    """
    images = item.images if isinstance(item, ClipItem) else item.image[None]
    num_frames = len(images)
    for t, image in enumerate(images):
        entries = torch.arange(t, len(target.labels), num_frames)  # instance after instance
        yield _picture(to_picture(image), target, entries, names)


def _picture(
    image: Image, target: Target, entries: torch.Tensor, names: Mapping[int, str]
) -> Image:
    picture, valid = image.copy(), target.is_valid()[entries]
    height, width = image.shape[:2]
    scale = torch.tensor([width, height, width, height])
    boxes = (corners(target.boxes[entries]) * scale).numpy()
    there = np.flatnonzero(valid.numpy())
    if target.masks is not None:
        for i in there:
            paint(picture, target.masks[entries[i]].numpy(), color_of(int(i)), _WEIGHT)
    for i in there:
        label = int(target.labels[entries[i]]) + 1
        draw_box(picture, boxes[i], color_of(int(i)))
        write(picture, names.get(label, f"class {label}"), boxes[i][:2], color_of(int(i)))
    return picture
