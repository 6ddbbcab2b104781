"""Training samples from single images: stage 0 (method specification section 6.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from stcn.data import transforms as T
from stcn.data.images import read_grey_mask, read_image
from stcn.data.samples import DEFAULT_CROP, Sample, TrainingSet, draw_seed
from stcn.data.sampling import SAMPLE_FRAMES
from stcn.data.tps import draw_warp
from vidseg_common.errors import DatasetError

#: Probabilities of a mirrored sample, of one without colours, and of a bent frame.
FLIP_PROBABILITY = 0.5
GREY_PROBABILITY = 0.05
WARP_PROBABILITY = 0.33
#: Standard deviation of the bending, relative to the side of the image.
WARP_SCALE = 0.02

SEQUENCE_AFFINE = T.RandomAffine(degrees=0.0, scale=(0.8, 1.5))
SEQUENCE_JITTER = T.ColorJitter(0.1, 0.05, 0.05, 0.05)
FRAME_AFFINE = T.RandomAffine(degrees=20.0, scale=(0.9, 1.1), shear=10.0)
FRAME_JITTER = T.ColorJitter(0.1, 0.05, 0.05, 0.0)


@dataclass(frozen=True)
class ImagePair:
    """An image file and the mask of its object."""

    image: Path
    mask: Path

    @property
    def name(self) -> str:
        """Name of the image without its extension."""
        return self.image.stem


def list_static_images(root: Path, *, per_class: bool) -> list[ImagePair]:
    """Return the pairs NAME.jpg + NAME.png of a folder, sorted.

    Args:
        root: folder of the pairs.
        per_class: the pairs lie in one sub-folder for each class instead of in ``root``.

    Raises:
        DatasetError: the folder is missing or empty, or an image has no mask.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder of static images")
    images = sorted(root.glob("*/*.jpg" if per_class else "*.jpg"))
    pairs = [ImagePair(image, image.with_suffix(".png")) for image in images]
    if not pairs:
        where = "its class folders" if per_class else "it"
        raise DatasetError(f"{root}: no .jpg image in {where}")
    for pair in pairs:
        if not pair.mask.exists():
            raise DatasetError(f"{pair.image}: has no mask {pair.mask.name} beside it")
    return pairs


class StaticTrainingSet(TrainingSet):
    """Three distorted copies of one image with the soft mask of its object.

    Args:
        pairs: images and masks.
        crop_size: side of the square samples in pixels.
    """

    def __init__(self, pairs: Sequence[ImagePair], *, crop_size: int = DEFAULT_CROP) -> None:
        self.pairs = list(pairs)
        self.crop_size = crop_size

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.pairs)

    def sample(self, index: int, rng: np.random.RandomState, max_jump: int) -> Sample:
        """Return three copies of image ``index``; ``max_jump`` has no meaning here."""
        pair = self.pairs[index]
        image, mask = read_image(pair.image), read_grey_mask(pair.mask)
        if image.size != mask.size:
            raise DatasetError(f"{pair.mask}: {mask.size} pixels, but its image {image.size}")
        # The copies share this first distortion, so it is done once for all.
        image, mask = _distort_sequence(image, mask, draw_seed(rng))
        copies = [self._distort_frame(image, mask, rng) for _ in range(SAMPLE_FRAMES)]
        rgb = torch.stack([T.to_normalized_tensor(copy) for copy, _ in copies])
        gt = torch.stack([T.to_mask_tensor(copy) for _, copy in copies])
        return {
            "rgb": rgb,
            "gt": gt,
            "sec_gt": torch.zeros_like(gt),
            "selector": torch.tensor([1.0, 0.0]),
            "cls_gt": (gt[:, 0] > 0.5).long(),
            "info": {"name": pair.name, "frames": [pair.image.name] * SAMPLE_FRAMES},
        }

    def _distort_frame(
        self, image: Image.Image, mask: Image.Image, rng: np.random.RandomState
    ) -> tuple[Image.Image, Image.Image]:
        """Return a copy of its own: turned, cropped, recoloured and sometimes bent."""
        size = self.crop_size
        gen = T.generator(draw_seed(rng))
        affine = FRAME_AFFINE.draw(gen)
        image = affine.apply(image, T.BICUBIC, T.IMAGE_FILL)
        mask = affine.apply(mask, T.BICUBIC, 0)
        image = T.pad_to_at_least(T.resize_shorter_side(image, size, T.BICUBIC), size, T.IMAGE_FILL)
        mask = T.pad_to_at_least(T.resize_shorter_side(mask, size, T.NEAREST), size, 0)
        box = T.draw_crop(image.size, size, gen)
        image = FRAME_JITTER.draw(gen).apply(T.crop(image, box))
        mask = T.crop(mask, box)
        if rng.rand() < WARP_PROBABILITY:
            warp = draw_warp(size, size, WARP_SCALE, rng)
            image = Image.fromarray(warp.image(np.asarray(image)))
            mask = Image.fromarray(warp.mask(np.asarray(mask)))
        return image, mask


def _distort_sequence(
    image: Image.Image, mask: Image.Image, seed: int
) -> tuple[Image.Image, Image.Image]:
    gen = T.generator(seed)
    affine = SEQUENCE_AFFINE.draw(gen)
    image = affine.apply(image, T.NEAREST, T.IMAGE_FILL)
    mask = affine.apply(mask, T.NEAREST, 0)
    if T.draw_chance(FLIP_PROBABILITY, gen):
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = SEQUENCE_JITTER.draw(gen).apply(image)
    if T.draw_chance(GREY_PROBABILITY, gen):
        image = T.to_grey(image)
    return image, mask
