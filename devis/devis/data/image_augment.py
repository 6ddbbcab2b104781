"""Random changes of training images (spec 4.2)."""

from __future__ import annotations

import random
from dataclasses import dataclass

from devis.data.image_sample import ImageSample, crop, flip, resize
from devis.data.sizes import BEFORE_CROP, image_window, scaled

#: Shorter sides, and the largest longer side.
SIZES, LONGEST = tuple(range(480, 801, 32)), 1333


@dataclass(frozen=True)
class ImageAugmenter:
    """Mirrors every second image, crops every second one, and draws a size.

    Attributes:
        factor: multiplies all sizes.
    """

    factor: float = 1.0

    def apply(self, sample: ImageSample, rng: random.Random) -> ImageSample:
        """Changes an image."""
        if rng.random() < 0.5:
            sample = flip(sample)
        if rng.random() < 0.5:
            sample = resize(sample, rng.choice(scaled(BEFORE_CROP, self.factor)), None)
            sample = crop(sample, image_window(sample.size, self.factor, rng))
        # The limit is not rounded: so were the published models trained.
        return resize(sample, rng.choice(scaled(SIZES, self.factor)), LONGEST * self.factor)
