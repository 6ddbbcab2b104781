"""Colours of the synthetic videos: single ones, palettes and changes of colour."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Color = tuple[float, float, float]
"""Red, green and blue, 0 to 1."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_POSITIONS = np.arange(256, dtype=np.float32)


@dataclass(frozen=True)
class Recolor:
    """A change of colour.

    Attributes:
        hue: Rotation of the hue in radians.
        saturation: Factor on the chroma.
        contrast: Factor on the distance from middle grey.
        brightness: Added to every channel, in units of the full range.
        gamma: Exponent on the intensities.
        palette: Colours (0 to 1) that replace dark, middle and light; None keeps the picture's.
    """

    hue: float = 0.0
    saturation: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0
    gamma: float = 1.0
    palette: tuple[Color, ...] | None = None


UNCHANGED = Recolor()


def sample_color(rng: np.random.Generator) -> Color:
    """Draw a colour: often muted, sometimes grey, rarely vivid."""
    hue, kind, value = rng.random(), rng.random(), rng.random()
    if kind < 0.25:
        saturation = 0.06 * rng.random()
    elif kind < 0.8:
        saturation = 0.1 + 0.45 * rng.random()
    else:
        saturation = 0.55 + 0.45 * rng.random()
    return colorsys.hsv_to_rgb(hue, saturation, 0.06 + 0.92 * value)


# Middle tones of grass (three), foliage, soil, sand, asphalt, concrete, snow, water, sky.
_NATURAL: tuple[Color, ...] = (
    (0.36, 0.45, 0.18),
    (0.28, 0.42, 0.16),
    (0.52, 0.50, 0.28),
    (0.20, 0.32, 0.16),
    (0.42, 0.33, 0.24),
    (0.70, 0.62, 0.48),
    (0.34, 0.34, 0.36),
    (0.56, 0.55, 0.53),
    (0.86, 0.88, 0.92),
    (0.24, 0.36, 0.42),
    (0.52, 0.66, 0.82),
)


def sample_natural(rng: np.random.Generator) -> Color:
    """Draw a colour of the ground, of plants, of water or of the sky."""
    return vary_color(rng, _NATURAL[int(rng.integers(len(_NATURAL)))], 0.15)


def vary_color(rng: np.random.Generator, color: Color, amount: float) -> Color:
    """Return a colour near the given one."""
    hue, saturation, value = colorsys.rgb_to_hsv(*color)
    shift = rng.uniform(-1, 1, 3) * amount
    saturation = min(max(saturation + float(shift[1]) * 0.6, 0.0), 1.0)
    value = min(max(value + float(shift[2]), 0.02), 1.0)
    return colorsys.hsv_to_rgb((hue + float(shift[0]) * 0.25) % 1.0, saturation, value)


def sample_palette(rng: np.random.Generator, num_colors: int) -> tuple[Color, ...]:
    """Draw colours that belong together; their order is from dark to light half of the time."""
    base = sample_natural(rng) if rng.random() < 0.3 else sample_color(rng)
    related = rng.random() < 0.6
    colors = [base]
    colors += [
        vary_color(rng, base, 0.5) if related else sample_color(rng) for _ in range(num_colors - 1)
    ]
    if rng.random() < 0.5:
        colors.sort(key=sum)
    return tuple(colors)


def sample_recolor(rng: np.random.Generator, *, grey: bool) -> Recolor:
    """Draw a change of colour; a grey photograph usually gets a palette."""
    draws = rng.random(6)
    hue = 0.0 if draws[0] < 0.3 else float(rng.normal(0, 0.35 if draws[0] < 0.65 else 2.0))
    palette = None
    if draws[1] < (0.8 if grey else 0.08):
        dark = vary_color(rng, sample_color(rng), 0.2)
        dark = (0.35 * dark[0], 0.35 * dark[1], 0.35 * dark[2])
        middle = sample_natural(rng) if rng.random() < 0.5 else sample_color(rng)
        red, green, blue = (min(1.0, 0.45 + 0.6 * c) for c in vary_color(rng, middle, 0.15))
        palette = (dark, middle, (red, green, blue))
    return Recolor(
        hue=hue,
        saturation=float(0.15 + 1.25 * draws[2]),
        contrast=float(0.55 + 0.75 * draws[3]),
        brightness=float(0.3 * (draws[4] - 0.5)),
        gamma=math.exp(float(draws[5] - 0.5) * 1.2),
        palette=palette,
    )


def color_matrix(recolor: Recolor) -> np.ndarray:
    """Return the (3, 4) matrix of hue, saturation, contrast and brightness for 0..255 RGB."""
    cos, sin = math.cos(recolor.hue), math.sin(recolor.hue)
    third, root = (1 - cos) / 3, math.sqrt(1 / 3) * sin
    # Rotation about the grey axis, then a mixture with the luma for the saturation.
    rotation = np.full((3, 3), third, np.float32)
    rotation += np.array([[cos, -root, root], [root, cos, -root], [-root, root, cos]], np.float32)
    luma = np.tile(_LUMA, (3, 1))
    chroma = luma + recolor.saturation * (np.eye(3, dtype=np.float32) - luma)
    linear = recolor.contrast * (chroma @ rotation)
    offset = 127.5 * (1 - recolor.contrast) + 255 * recolor.brightness
    return np.concatenate([linear, np.full((3, 1), offset, np.float32)], axis=1)


def palette_table(palette: Sequence[Color], *, steps: bool) -> np.ndarray:
    """Return the (256, 1, 3) uint8 table that maps an intensity to a colour of the palette."""
    colors = np.asarray(palette, np.float32) * 255
    if steps:
        return colors[np.arange(256) * len(colors) // 256].astype(np.uint8)[:, None]
    knots = np.linspace(0, 255, len(colors))
    table = np.stack([np.interp(_POSITIONS, knots, colors[:, c]) for c in range(3)], axis=1)
    return table.astype(np.uint8)[:, None]
