"""Random changes of colour and extent, the same for both frames of a pair (spec 8.3).

No released model was trained with them. The original drew for each frame alone and let values run
over the end of their 8 bits; here both frames get the same change, and values stay in 0..255.

Letters: H rows, W columns, n objects. Images are (H, W, 3) uint8 in the order red, green, blue.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from stmask.data.frames import Frame
from stmask.pixels import MEAN
from vidseg_common.arguments import did_you_mean
from vidseg_common.errors import ConfigError

_NUM_TRIALS = 50
#: Longest side of a cut-out over its shortest.
_LARGEST_ASPECT = 2.0


@dataclass(frozen=True)
class Distortion:
    """Changes of colour, each with probability one half.

    Attributes:
        brightness_delta: largest number added to all values.
        contrast_range: factors of all values.
        saturation_range: factors of the saturation.
        hue_delta: largest turn of the hue in degrees.
    """

    brightness_delta: float = 32
    contrast_range: tuple[float, float] = (0.5, 1.5)
    saturation_range: tuple[float, float] = (0.5, 1.5)
    hue_delta: float = 18

    def apply(self, frames: Sequence[Frame], rng: random.Random) -> list[Frame]:
        """Draws once and changes all frames."""
        shift, contrast, saturation, hue, late, order = self._draw(rng)

        def change(image: np.ndarray) -> np.ndarray:
            values = image.astype(np.float32) + np.float32(shift)
            if not late:
                values *= np.float32(contrast)
            values = _change_hsv(values.clip(0, 255), saturation, hue)
            if late:
                values *= np.float32(contrast)
            return values.clip(0, 255).round().astype(np.uint8)[..., order]

        return [replace(frame, image=change(frame.image)) for frame in frames]

    def _draw(self, rng: random.Random) -> tuple[float, float, float, float, bool, list[int]]:
        delta, turn = self.brightness_delta, self.hue_delta
        shift = rng.uniform(-delta, delta) if rng.random() < 0.5 else 0.0
        is_late = rng.random() < 0.5  # contrast is changed before the colours or after
        contrast = rng.uniform(*self.contrast_range) if rng.random() < 0.5 else 1.0
        saturation = rng.uniform(*self.saturation_range) if rng.random() < 0.5 else 1.0
        hue = rng.uniform(-turn, turn) if rng.random() < 0.5 else 0.0
        order = [0, 1, 2]
        if rng.random() < 0.5:
            rng.shuffle(order)
        return shift, contrast, saturation, hue, is_late, order


def _change_hsv(values: np.ndarray, saturation: float, hue: float) -> np.ndarray:
    """Scales the saturation and turns the hue of (H, W, 3) float32 values in 0..255."""
    if saturation == 1.0 and hue == 0.0:
        return values
    hsv = cv2.cvtColor(values, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + np.float32(hue)) % 360
    hsv[..., 1] = (hsv[..., 1] * np.float32(saturation)).clip(0, 1)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.float32)


@dataclass(frozen=True)
class Expansion:
    """Puts the frames somewhere on a larger canvas of the mean colour, with probability one half.

    Attributes:
        ratio_range: sides of the canvas over those of the frame.
    """

    ratio_range: tuple[float, float] = (1, 4)

    def apply(self, frames: Sequence[Frame], rng: random.Random) -> list[Frame]:
        """Draws once and changes all frames."""
        drawn = self.draw(frames[0].size, rng)
        return list(frames) if drawn is None else [_placed(frame, *drawn) for frame in frames]

    def draw(
        self, size: tuple[int, int], rng: random.Random
    ) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """Size (H, W) of a canvas and corner (x, y) of the frame on it; None for no change.

        Args:
            size: width and height of the frame.
            rng: draws.
        """
        if rng.random() < 0.5:
            return None
        width, height = size
        ratio = rng.uniform(*self.ratio_range)
        left = int(rng.uniform(0, width * ratio - width))
        top = int(rng.uniform(0, height * ratio - height))
        return (int(height * ratio), int(width * ratio)), (left, top)


def _placed(frame: Frame, canvas: tuple[int, int], corner: tuple[int, int]) -> Frame:
    """A frame on a canvas of (H, W), its corner at (x, y)."""
    (width, height), (left, top) = frame.size, corner
    window = slice(top, top + height), slice(left, left + width)
    image = np.empty((*canvas, 3), np.uint8)
    image[:] = np.round(np.array(MEAN)).astype(np.uint8)
    image[window] = frame.image
    masks = []
    for mask in frame.masks:
        placed = np.zeros(canvas, np.uint8)
        placed[window] = mask
        masks.append(placed)
    boxes = frame.boxes + np.array([left, top, left, top], np.float32)
    return replace(frame, image=image, boxes=boxes, masks=tuple(masks))


@dataclass(frozen=True)
class Cropping:
    """Cuts a window that overlaps all objects of both frames by a drawn share, or nothing.

    Attributes:
        min_ious: the shares, beside none at all and any.
        min_crop_size: smallest side of the window over that of the frame.
    """

    min_ious: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    min_crop_size: float = 0.3

    def apply(self, frames: Sequence[Frame], rng: random.Random) -> list[Frame]:
        """Draws once and changes all frames; objects whose centre is outside are left out."""
        window = self.draw(frames[0].size, [frame.boxes for frame in frames], rng)
        return list(frames) if window is None else [_cut(frame, window) for frame in frames]

    def draw(
        self, size: tuple[int, int], boxes: Sequence[np.ndarray], rng: random.Random
    ) -> np.ndarray | None:
        """A window (x1, y1, x2, y2) in whole pixels; None for no change.

        Args:
            size: width and height of the frames.
            boxes: (n, 4) corners in each frame.
            rng: draws.
        """
        while True:
            share = rng.choice((1.0, *self.min_ious, 0.0))
            if share == 1.0:
                return None
            for _ in range(_NUM_TRIALS):
                window = self._draw(size, rng)
                if window is not None and all(_is_good(window, share, b) for b in boxes):
                    return window

    def _draw(self, size: tuple[int, int], rng: random.Random) -> np.ndarray | None:
        """A window (x1, y1, x2, y2) in whole pixels, None where it is too narrow."""
        width, height = size
        w = rng.uniform(self.min_crop_size * width, width)
        h = rng.uniform(self.min_crop_size * height, height)
        if not 1 / _LARGEST_ASPECT <= h / w <= _LARGEST_ASPECT:
            return None
        left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
        return np.array([int(left), int(top), int(left + w), int(top + h)], np.float32)


def _is_good(window: np.ndarray, share: float, boxes: np.ndarray) -> bool:
    """Whether the IoU with every box is a share at least, and a centre is inside."""
    sides = np.minimum(window[2:], boxes[:, 2:]) - np.maximum(window[:2], boxes[:, :2])
    common = sides.clip(0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (window[2:] - window[:2]).prod()
    overlaps = common / np.maximum(areas - common, 1e-6)
    return bool((overlaps >= share).all() and _has_centre(window, boxes).any())


def _has_centre(window: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.asarray(((centres > window[:2]) & (centres < window[2:])).all(1))


def _cut(frame: Frame, window: np.ndarray) -> Frame:
    """The part of a frame within a window, with the objects whose centre it has."""
    left, top, right, bottom = (int(side) for side in window)
    frame = frame.keep(_has_centre(window, frame.boxes))
    low, high = window[:2], window[2:]
    boxes = np.concatenate(
        [np.maximum(frame.boxes[:, :2], low) - low, np.minimum(frame.boxes[:, 2:], high) - low], 1
    )
    part = slice(top, bottom), slice(left, right)
    masks = tuple(np.ascontiguousarray(mask[part]) for mask in frame.masks)
    return replace(frame, image=np.ascontiguousarray(frame.image[part]), boxes=boxes, masks=masks)


Change = Distortion | Expansion | Cropping

#: Keys of `extra_aug` in the order in which the changes are made.
CHANGES: dict[str, type[Change]] = {
    "photo_metric_distortion": Distortion,
    "expand": Expansion,
    "random_crop": Cropping,
}


def make_changes(extra_aug: Mapping[str, Any] | None) -> tuple[Change, ...]:
    """The changes of a data set's `extra_aug`.

    Args:
        extra_aug: name of the change to its values, an empty mapping for the defaults; None for
            no change.

    Raises:
        ConfigError: an unknown change or value.
    """
    given = dict(extra_aug or {})
    for name in given:
        if name not in CHANGES:
            raise ConfigError(f"extra_aug: no change {name!r}{did_you_mean(name, CHANGES)}")
    return tuple(_make_change(name, given[name]) for name in CHANGES if name in given)


def _make_change(name: str, values: Mapping[str, Any] | None) -> Change:
    kind, given = CHANGES[name], dict(values or {})
    for key, value in given.items():
        if key not in kind.__dataclass_fields__:
            near = did_you_mean(key, kind.__dataclass_fields__)
            raise ConfigError(f"extra_aug.{name}: no value {key!r}{near}")
        given[key] = tuple(value) if isinstance(value, list) else value
    return kind(**given)
