"""Random changes of single frames that make a clip of an image: colour, geometry, blur.

The changes are those of the package that the original methods called, which does not run on
present NumPy. Letters: H rows, W columns. Images are (H, W, 3) uint8, label maps (H, W) uint16.
Matrices map source to target pixels. Sources: spec stemseg 7.3 and 7.4, spec devis 3.4.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

#: Degrees of OpenCV's hue, which goes round in 180, per step of the 8-bit value that is drawn.
_HUE_STEPS = 180 / 255
_CORNER_SIGNS = ((1, 1), (-1, 1), (-1, -1), (1, -1))  # inwards, from the top left clockwise


@dataclass(frozen=True)
class Photometric:
    """Changes of brightness and colour.

    Attributes:
        brightness: largest number added to all values.
        color: largest change of hue and saturation, in steps of 255.
    """

    brightness: int = 40
    color: int = 5

    def apply(self, image: np.ndarray, rng: random.Random) -> np.ndarray:
        """Applies one of the two changes, or both in their fixed order."""
        chosen = rng.sample(range(2), rng.randint(1, 2))
        if 0 in chosen:
            image = add_brightness(image, rng.randint(-self.brightness, self.brightness))
        if 1 in chosen:
            image = shift_color(image, rng.randint(-self.color, self.color))
        return image


def add_brightness(image: np.ndarray, amount: int) -> np.ndarray:
    """Adds a number to all values; they stay in 0..255."""
    return np.clip(image.astype(np.int16) + amount, 0, 255).astype(np.uint8)


def shift_color(image: np.ndarray, amount: int) -> np.ndarray:
    """Turns the hue and adds to the saturation of an image in the order red, green, blue.

    STEm-Seg's frames have the other order; its original takes them for this one all the same.
    """
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.int16)
    hsv[..., 0] = (hsv[..., 0] + int(amount * _HUE_STEPS)) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] + amount, 0, 255)
    return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB), dtype=np.uint8)


@dataclass(frozen=True)
class Affine:
    """Rotation about the centre, scaling and shift.

    Attributes:
        rotation: largest angle in degrees.
        translation: largest shift as a share of width and height.
        scale: smallest and largest factor.
        is_diagonal: one draw of the shift serves both axes.
    """

    rotation: float
    translation: float = 0.1
    scale: tuple[float, float] = (1.0, 1.0)
    is_diagonal: bool = True

    def draw(self, width: int, height: int, rng: random.Random) -> np.ndarray:
        """A (2, 3) matrix."""
        scale = rng.uniform(*self.scale)
        angle = rng.uniform(-self.rotation, self.rotation)
        across = rng.uniform(-self.translation, self.translation)
        down = across if self.is_diagonal else rng.uniform(-self.translation, self.translation)
        center = ((width - 1) / 2, (height - 1) / 2)
        turn = np.asarray(cv2.getRotationMatrix2D(center, angle, scale), dtype=np.float64)
        turn[:, 2] += np.array([across * width, down * height])
        return turn


@dataclass(frozen=True)
class MotionBlur:
    """Blur along a line.

    Attributes:
        probability: how often a frame is blurred.
        sizes: sides of the kernel in pixels, each as likely.
    """

    probability: float
    sizes: tuple[int, ...] = (9, 11)

    def draw(self, rng: random.Random) -> np.ndarray | None:
        """A kernel with sum 1, or None for no blur."""
        if rng.random() >= self.probability:
            return None
        size = rng.choice(self.sizes)
        return blur_kernel(size, rng.uniform(0, 360), rng.uniform(-1, 1))


def blur_kernel(size: int, angle: float, direction: float) -> np.ndarray:
    """A line of weights through the middle of a (size, size) kernel with sum 1.

    Args:
        size: side in pixels.
        angle: of the line, in degrees.
        direction: -1 to 1, to which end the weights grow; 0 for equal weights.
    """
    kernel = np.zeros((size, size), np.float32)
    lean = (direction + 1) / 2
    kernel[:, size // 2] = np.linspace(lean, 1 - lean, size)
    center = ((size - 1) / 2, (size - 1) / 2)
    turned = cv2.warpAffine(kernel, cv2.getRotationMatrix2D(center, angle, 1), (size, size))
    return np.asarray(turned / turned.sum(), dtype=np.float32)


def draw_corners(width: int, height: int, deviation: float, rng: random.Random) -> np.ndarray:
    """Corners of an image, each moved inwards: (4, 2), from the top left clockwise.

    Args:
        width: of the image.
        height: of the image.
        deviation: of the normal distribution of the moves, as a share of the sides.
        rng: source of the draws.
    """
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    for corner, signs in zip(corners, _CORNER_SIGNS, strict=True):
        for axis, side in enumerate((width, height)):
            corner[axis] += signs[axis] * side * (abs(rng.gauss(0, deviation)) % 1)
    return corners


@dataclass(frozen=True)
class Warp:
    """One drawn change of geometry, the same for a frame, its masks and its validity.

    Attributes:
        corners: (4, 2) corners of the part that fills the frame; None for all of it.
        affine: (2, 3) matrix applied after that; None for none.
        kernel: of the blur of the frame; None for none.
    """

    corners: np.ndarray | None
    affine: np.ndarray | None
    kernel: np.ndarray | None

    def image(self, image: np.ndarray) -> np.ndarray:
        """The changed frame, black outside."""
        image = self._move(image, cv2.INTER_LINEAR)
        if self.kernel is None:
            return image
        blurred = cv2.filter2D(image, -1, self.kernel, borderType=cv2.BORDER_REFLECT_101)
        return np.asarray(blurred, dtype=np.uint8)

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """The changed label map or mask, 0 outside."""
        return self._move(labels, cv2.INTER_NEAREST)

    def _move(self, pixels: np.ndarray, interpolation: int) -> np.ndarray:
        height, width = pixels.shape[:2]
        if self.corners is not None:
            size = _quad_size(self.corners)
            target = np.array([(0, 0), (size[0], 0), size, (0, size[1])], np.float32)
            matrix = cv2.getPerspectiveTransform(self.corners, target)
            pixels = cv2.warpPerspective(pixels, matrix, size, flags=interpolation)
            pixels = cv2.resize(pixels, (width, height), interpolation=interpolation)
        if self.affine is not None:
            pixels = cv2.warpAffine(pixels, self.affine, (width, height), flags=interpolation)
        return np.asarray(pixels)


def _quad_size(corners: np.ndarray) -> tuple[int, int]:
    """Width and height of the rectangle for a quadrilateral: its larger sides, in pixels."""
    top_left, top_right, bottom_right, bottom_left = corners
    widths = (np.linalg.norm(top_right - top_left), np.linalg.norm(bottom_right - bottom_left))
    heights = (np.linalg.norm(bottom_left - top_left), np.linalg.norm(bottom_right - top_right))
    return max(int(max(widths)), 1), max(int(max(heights)), 1)


@dataclass(frozen=True)
class FrameAugmenter:
    """Random changes of a single frame.

    Attributes:
        photometric: changes of the values.
        perspective: deviation of the moves of the corners; 0 for none.
        affine: rotation and shift, None for none.
        blur: motion blur, None for none.
    """

    photometric: Photometric
    perspective: float = 0.0
    affine: Affine | None = None
    blur: MotionBlur | None = None

    def apply(
        self, image: np.ndarray, maps: Sequence[np.ndarray], rng: random.Random
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Changes a frame and, the same way, label maps and masks.

        Args:
            image: (H, W, 3) uint8.
            maps: (H, W) each; black pixels that come in from outside get 0.
            rng: source of the draws.
        """
        image = self.photometric.apply(image, rng)
        warp = self._draw(image.shape[1], image.shape[0], rng)
        return warp.image(image), [warp.labels(labels) for labels in maps]

    def _draw(self, width: int, height: int, rng: random.Random) -> Warp:
        corners = draw_corners(width, height, self.perspective, rng) if self.perspective else None
        affine = None if self.affine is None else self.affine.draw(width, height, rng)
        return Warp(corners, affine, None if self.blur is None else self.blur.draw(rng))


def label_map(masks: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint16 of masks: 1, 2, ... by position, 0 elsewhere; the later mask wins.

    Args:
        masks: (H, W) each, not 0 inside.
        size: (height, width).
    """
    labels = np.zeros(size, np.uint16)
    for number, mask in enumerate(masks, start=1):
        labels[mask > 0] = number
    return labels
