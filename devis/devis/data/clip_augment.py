"""Random changes of training clips (spec 4.3).

Everything is drawn once per clip but the changes of colour, which every frame draws for itself.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import permutations

import cv2
import numpy as np

from devis.data.clip_sample import ClipSample, Floats, Image, crop, flip, resize
from devis.data.sizes import BEFORE_CROP, clip_window, scaled

#: Shorter sides and the largest longer side: of training at several sizes, ...
SIZES, LONGEST = (288, 320, 352, 392, 416, 448, 480, 512), 768
#: ... of the first step of training at one size, and that size.
FIRST_SIZES, FIRST_LONGEST = tuple(range(480, 769, 32)), 800
ONE_SIZE, ONE_LONGEST = 300, 540
_ORDERS = tuple(permutations(range(3)))


@dataclass(frozen=True)
class Distortion:
    """Changes of colour.

    Attributes:
        bgr: frames are in the order blue, green, red.
        early_contrast: factors of all values when they come before the change of colours.
        late_contrast: factors when they come after it.
        saturation: factors of the saturation.
        hue: largest turn of the hue in degrees.
    """

    bgr: bool = False
    early_contrast: tuple[float, float] = (0.5, 1.3)
    late_contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.7, 1.3)
    hue: float = 8.0

    def apply(self, image: Image, rng: random.Random) -> Image:
        """Changes a frame; values stay in 0 to 255."""
        is_early = rng.random() < 0.5
        values = image.astype(np.float32)
        if is_early:
            values *= _draw_factor(self.early_contrast, rng)
        values = self._change_colours(values, rng)
        if not is_early:
            values *= _draw_factor(self.late_contrast, rng)
        if rng.random() < 0.25:
            values = values[..., list(rng.choice(_ORDERS))]
        return np.ascontiguousarray(values.clip(0, 255).astype(np.uint8))

    def _change_colours(self, values: Floats, rng: random.Random) -> Floats:
        saturation = _draw_factor(self.saturation, rng)
        hue = rng.uniform(-self.hue, self.hue) if rng.random() < 0.5 else 0.0
        if saturation == 1 and hue == 0:
            return values
        there, back = (
            (cv2.COLOR_BGR2HSV, cv2.COLOR_HSV2BGR)
            if self.bgr
            else (cv2.COLOR_RGB2HSV, cv2.COLOR_HSV2RGB)
        )
        hsv = cv2.cvtColor(values, there)
        hsv[..., 1] *= saturation
        hsv[..., 0] = (hsv[..., 0] + np.float32(hue)) % 360
        return np.asarray(cv2.cvtColor(hsv, back), np.float32)


def _draw_factor(limits: tuple[float, float], rng: random.Random) -> np.float32:
    """A factor for every second frame, 1 for the others."""
    return np.float32(rng.uniform(*limits) if rng.random() < 0.5 else 1)


@dataclass(frozen=True)
class ClipAugmenter:
    """What is done to a training clip.

    Attributes:
        multi_scale: sizes vary, and every second clip is cropped; else all are cropped and end
            at one size.
        factor: multiplies all sizes.
        distortion: changes of colour; None for none.
    """

    multi_scale: bool = True
    factor: float = 1.0
    distortion: Distortion | None = None

    def apply(self, sample: ClipSample, rng: random.Random) -> ClipSample:
        """Changes a clip."""
        if rng.random() < 0.5:
            sample = flip(sample)
        if not self.multi_scale:
            sample = self._resize(sample, FIRST_SIZES, FIRST_LONGEST, rng)
        sample = self._distort(sample, rng)
        if not self.multi_scale:
            return self._resize(self._crop(sample, rng), (ONE_SIZE,), ONE_LONGEST, rng)
        if rng.random() < 0.5:
            sample = self._crop(sample, rng)
        return self._resize(sample, SIZES, LONGEST, rng)

    def _distort(self, sample: ClipSample, rng: random.Random) -> ClipSample:
        if self.distortion is None:
            return sample
        frames = [self.distortion.apply(frame, rng) for frame in sample.frames]
        return replace(sample, frames=frames)

    def _crop(self, sample: ClipSample, rng: random.Random) -> ClipSample:
        sample = self._resize(sample, BEFORE_CROP, None, rng)
        window = clip_window(sample.size, self.factor, rng)
        return sample if window is None else crop(sample, *window)

    def _resize(
        self, sample: ClipSample, sizes: tuple[int, ...], longest: int | None, rng: random.Random
    ) -> ClipSample:
        limit = None if longest is None else scaled([longest], self.factor)[0]
        return resize(sample, rng.choice(scaled(sizes, self.factor)), limit)
