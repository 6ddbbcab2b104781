"""Source material of the synthetic videos: photographs and noise fields, decoded once.

The photographs are those inside the installed scikit-image wheel, so nothing is downloaded.
Every bank is built on first use and kept for the life of the process; all arrays are read-only.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.resources import files

import cv2
import numpy as np
from PIL import Image

from vidseg_common.errors import DatasetError

PHOTO_WEIGHTS: dict[str, float] = {
    "astronaut.png": 1.6,
    "brick.png": 1.0,
    "camera.png": 1.4,
    "cell.png": 0.2,
    "chelsea.png": 1.5,
    "clock_motion.png": 0.2,
    "coffee.png": 1.4,
    "coins.png": 0.7,
    "color.png": 0.2,
    "grass.png": 1.4,
    "gravel.png": 1.2,
    "hubble_deep_field.jpg": 0.4,
    "ihc.png": 1.0,
    "logo.png": 0.3,
    "moon.png": 0.6,
    "motorcycle_left.png": 2.0,
    "page.png": 0.4,
    "retina.jpg": 0.6,
    "rocket.jpg": 1.0,
    "text.png": 0.4,
}
"""Photographs of scikit-image and how often each is drawn."""

# A disc on black or a frame of nothing: only the inner part of these pictures is texture.
_INNER_PART = {"color.png": 0.66, "retina.jpg": 0.66, "logo.png": 0.8}
_NOISE_SIDE = 512
_BANK_SEED = 20210611


@dataclass(frozen=True)
class Photo:
    """A photograph with its half-size copies.

    Attributes:
        name: File name inside scikit-image's data folder.
        levels: RGB images (H, W, 3) uint8, each half the size of the one before.
        is_grey: Whether the picture has no colour of its own.
    """

    name: str
    levels: tuple[np.ndarray, ...]
    is_grey: bool


def read_photo_file(name: str) -> np.ndarray:
    """Decode one picture of scikit-image's data folder.

    Args:
        name: File name, such as ``astronaut.png``.

    Returns:
        (H, W, 3) RGB or (H, W, 4) RGBA uint8.

    Raises:
        DatasetError: The file is missing from the installation or cannot be decoded.
    """
    resource = files("skimage").joinpath("data").joinpath(name)
    if not resource.is_file():
        raise DatasetError(f"scikit-image's sample picture {name} is missing: reinstall it")
    try:
        with resource.open("rb") as stream, Image.open(stream) as picture:
            return np.array(picture.convert("RGBA" if picture.mode == "RGBA" else "RGB"))
    except (OSError, SyntaxError) as error:
        raise DatasetError(
            f"scikit-image's sample picture {name} cannot be decoded: {error}"
        ) from error


@functools.cache
def load_photo(name: str) -> Photo:
    """Load a photograph and its pyramid once per process.

    Args:
        name: A key of ``PHOTO_WEIGHTS``.

    Raises:
        DatasetError: See ``read_photo_file``.
    """
    image = read_photo_file(name)[..., :3]
    if name in _INNER_PART:
        height, width = image.shape[:2]
        top = round(height * (1 - _INNER_PART[name]) / 2)
        left = round(width * (1 - _INNER_PART[name]) / 2)
        image = image[top : height - top, left : width - left]
    image = np.ascontiguousarray(image)
    is_grey = bool((np.ptp(image[::7, ::7].astype(np.int16), axis=2) <= 2).all())
    levels = [image]
    while min(levels[-1].shape[:2]) >= 96:
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    for level in levels:
        level.flags.writeable = False
    return Photo(name, tuple(levels), is_grey)


def _octaves(rng: np.random.Generator, first: int, count: int, gain: float) -> np.ndarray:
    """Sum ``count`` octaves of smooth noise, the coarsest with ``first`` cells a side."""
    total = np.zeros((_NOISE_SIDE, _NOISE_SIDE), np.float32)
    amplitude = 1.0
    for octave in range(count):
        cells = min(first * 2**octave, _NOISE_SIDE)
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        # A wrapped border keeps the field tileable, so that it can be sampled anywhere.
        grid = np.pad(grid, 2, mode="wrap")
        side = _NOISE_SIDE * (cells + 4) // cells
        pad = (side - _NOISE_SIDE) // 2
        field = cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
        total += amplitude * field[pad : pad + _NOISE_SIDE, pad : pad + _NOISE_SIDE]
        amplitude *= gain
    return total


@functools.lru_cache(maxsize=1)
def noise_bank() -> tuple[np.ndarray, ...]:
    """Return the tileable noise fields, (512, 512) uint8 with a flat histogram.

    The first ``NUM_SMOOTH_NOISES`` are smooth (used for masks), the others grow rougher.
    A flat histogram makes "value < p * 255" cover the share p of the plane.
    """
    rng = np.random.default_rng(_BANK_SEED)
    recipes = [(4, 1, 1.0), (4, 2, 0.5), (8, 2, 0.5), (4, 4, 0.5)]
    recipes += [(4, 7, 0.55), (8, 6, 0.7), (16, 5, 0.6), (32, 4, 0.8), (64, 3, 1.0)]
    bank = []
    for first, count, gain in recipes:
        field = _octaves(rng, first, count, gain)
        ranks = np.empty(field.size, np.float64)
        ranks[np.argsort(field, axis=None, kind="stable")] = np.arange(field.size)
        flat = (ranks * (256 / field.size)).astype(np.uint8).reshape(field.shape)
        flat.flags.writeable = False
        bank.append(flat)
    return tuple(bank)


NUM_SMOOTH_NOISES = 4
NUM_NOISES = 9


@functools.lru_cache(maxsize=1)
def grain_bank() -> np.ndarray:
    """Return sensor noise, (768, 1100, 3) uint8 around 128 with standard deviation 24."""
    rng = np.random.default_rng(_BANK_SEED + 1)
    white = rng.standard_normal((768, 1100, 3)).astype(np.float32)
    # Cameras and their codecs correlate neighbouring pixels and, weakly, the channels.
    soft = cv2.GaussianBlur(white, (0, 0), 0.7)
    soft += 0.7 * soft.mean(axis=2, keepdims=True)
    grain = np.clip(128 + soft * (24 / soft.std()), 0, 255).astype(np.uint8)
    grain.flags.writeable = False
    return grain


@functools.lru_cache(maxsize=1)
def horse_outline() -> tuple[np.ndarray, ...]:
    """Return the closed outlines of scikit-image's horse picture.

    Returns:
        (N, 2) float32 arrays of x, y, the first the outer outline, the others holes; centred
        at the origin and scaled so that the longer side is 2.
    """
    picture = read_photo_file("horse.png")
    mask = cv2.copyMakeBorder((picture[..., 0] < 128).astype(np.uint8), 2, 2, 2, 2, 0, value=0)
    found, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    order = sorted(range(len(found)), key=lambda i: -len(found[i]))
    outer = next(i for i in order if tree[0][i][3] < 0)
    chosen = [outer, *(i for i in order if tree[0][i][3] == outer and len(found[i]) > 12)]
    outlines = [found[i][::3, 0].astype(np.float32) for i in chosen]
    low, high = outlines[0].min(axis=0), outlines[0].max(axis=0)
    return tuple((line - (low + high) / 2) * (2 / (high - low).max()) for line in outlines)
