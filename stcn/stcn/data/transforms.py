"""Random image augmentations whose draws are kept apart from their effect.

Each augmentation draws its parameters from an explicit ``torch.Generator`` and is then applied
to a PIL image. So an image and its mask, or the frames of one sample, share a distortion by
sharing the parameters, and no global random state is read or changed. The draws come in the
order of torchvision's transforms of the same names, so that seeds keep their meaning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torchvision.transforms.functional as TF
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode

NEAREST = InterpolationMode.NEAREST
BICUBIC = InterpolationMode.BICUBIC

#: Statistics of the images on which the encoders were first trained (RGB, range 0..1).
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
#: Colour of what a distortion brings into an image from outside: about the mean, 0..255.
IMAGE_FILL = (124, 116, 104)

#: Attempts to find a crop inside the image before the central one is taken.
CROP_ATTEMPTS = 10


def generator(seed: int) -> torch.Generator:
    """Return a CPU generator that starts at ``seed``."""
    return torch.Generator().manual_seed(seed)


def _uniform(low: float, high: float, gen: torch.Generator) -> float:
    return float(torch.empty(1).uniform_(low, high, generator=gen))


def _randint(high: int, gen: torch.Generator) -> int:
    return int(torch.randint(0, high, size=(1,), generator=gen))


@dataclass(frozen=True)
class AffineParams:
    """One drawn affine distortion about the centre; angles in degrees."""

    angle: float
    scale: float
    shear_x: float

    def apply(
        self,
        image: Image.Image,
        interpolation: InterpolationMode,
        fill: int | tuple[int, int, int],
    ) -> Image.Image:
        """Return the distorted image, of the same size."""
        return TF.affine(
            image,
            angle=self.angle,
            translate=[0, 0],
            scale=self.scale,
            shear=[self.shear_x, 0.0],
            interpolation=interpolation,
            fill=fill,
        )


@dataclass(frozen=True)
class RandomAffine:
    """Ranges of an affine distortion: rotation and shear of +- degrees, scale from..to."""

    degrees: float = 0.0
    scale: tuple[float, float] | None = None
    shear: float | None = None

    def draw(self, gen: torch.Generator) -> AffineParams:
        """Draw the angle (always), then scale and shear where they have a range."""
        angle = _uniform(-self.degrees, self.degrees, gen)
        scale = 1.0 if self.scale is None else _uniform(*self.scale, gen)
        shear_x = 0.0 if self.shear is None else _uniform(-self.shear, self.shear, gen)
        return AffineParams(angle, scale, shear_x)


@dataclass(frozen=True)
class JitterParams:
    """One drawn change of colours; None leaves a property alone."""

    order: tuple[int, ...]
    brightness: float | None
    contrast: float | None
    saturation: float | None
    hue: float | None

    def apply(self, image: Image.Image) -> Image.Image:
        """Return the changed RGB image; the four changes do not commute."""
        changes = (
            (TF.adjust_brightness, self.brightness),
            (TF.adjust_contrast, self.contrast),
            (TF.adjust_saturation, self.saturation),
            (TF.adjust_hue, self.hue),
        )
        for number in self.order:
            adjust, factor = changes[number]
            if factor is not None:
                image = adjust(image, factor)
        return image


@dataclass(frozen=True)
class ColorJitter:
    """Ranges of colour changes: factors of 1 +- value, and a hue shift of +- value (turns)."""

    brightness: float
    contrast: float
    saturation: float
    hue: float

    def draw(self, gen: torch.Generator) -> JitterParams:
        """Draw the order, then the factors whose range is not empty."""
        order = tuple(torch.randperm(4, generator=gen).tolist())
        factors = [
            _uniform(max(0.0, 1.0 - value), 1.0 + value, gen) if value else None
            for value in (self.brightness, self.contrast, self.saturation)
        ]
        hue = _uniform(-self.hue, self.hue, gen) if self.hue else None
        return JitterParams(order, factors[0], factors[1], factors[2], hue)


def draw_chance(probability: float, gen: torch.Generator) -> bool:
    """Return True with the given probability."""
    return bool(torch.rand(1, generator=gen) < probability)


def to_grey(image: Image.Image) -> Image.Image:
    """Return the RGB image without its colours, still with three channels."""
    return TF.rgb_to_grayscale(image, num_output_channels=3)


@dataclass(frozen=True)
class CropBox:
    """A crop in pixels."""

    top: int
    left: int
    height: int
    width: int

    def resized(
        self, image: Image.Image, size: int, interpolation: InterpolationMode
    ) -> Image.Image:
        """Return the cut-out piece, resized to ``size`` x ``size``."""
        box = [self.top, self.left, self.height, self.width]
        return TF.resized_crop(image, *box, [size, size], interpolation)


def draw_resized_crop(
    image_size: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    gen: torch.Generator,
) -> CropBox:
    """Draw a crop of a share ``scale`` of the area and an aspect (width / height) of ``ratio``.

    Args:
        image_size: (width, height), as PIL gives it.
        scale: smallest and largest share of the area.
        ratio: smallest and largest aspect, drawn on a logarithmic scale.
        gen: source of the draws.
    """
    width, height = image_size
    log_ratio = torch.log(torch.tensor(ratio))
    for _ in range(CROP_ATTEMPTS):
        area = height * width * _uniform(*scale, gen)
        drawn = torch.empty(1).uniform_(float(log_ratio[0]), float(log_ratio[1]), generator=gen)
        aspect = float(torch.exp(drawn))
        crop_width = round(math.sqrt(area * aspect))
        crop_height = round(math.sqrt(area / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = _randint(height - crop_height + 1, gen)
            left = _randint(width - crop_width + 1, gen)
            return CropBox(top, left, crop_height, crop_width)
    crop_width = min(width, round(height * ratio[1]))
    crop_height = min(height, round(width / ratio[0]))
    return CropBox((height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width)


def resize_shorter_side(
    image: Image.Image, size: int, interpolation: InterpolationMode
) -> Image.Image:
    """Return the image resized so that its shorter side is ``size``."""
    return TF.resize(image, [size], interpolation)


def pad_to_at_least(image: Image.Image, size: int, fill: int | tuple[int, int, int]) -> Image.Image:
    """Pad both borders of every side shorter than ``size`` by what is missing."""
    width, height = image.size
    if width < size:
        image = TF.pad(image, [size - width, 0], fill)
    if height < size:
        image = TF.pad(image, [0, size - height], fill)
    return image


def draw_crop(image_size: tuple[int, int], size: int, gen: torch.Generator) -> CropBox:
    """Draw the place of a ``size`` x ``size`` crop in an image of (width, height)."""
    width, height = image_size
    if (width, height) == (size, size):
        return CropBox(0, 0, size, size)
    top = _randint(height - size + 1, gen)
    left = _randint(width - size + 1, gen)
    return CropBox(top, left, size, size)


def crop(image: Image.Image, box: CropBox) -> Image.Image:
    """Return the part of the image inside the box."""
    return image.crop((box.left, box.top, box.left + box.width, box.top + box.height))


def to_normalized_tensor(image: Image.Image) -> Tensor:
    """Return an RGB image as a normalised (3, H, W) float32 tensor."""
    return TF.normalize(TF.to_tensor(image), IMAGE_MEAN, IMAGE_STD, inplace=True)


def to_mask_tensor(mask: Image.Image) -> Tensor:
    """Return a grey-level mask as a (1, H, W) float32 tensor in 0..1."""
    return TF.to_tensor(mask)
