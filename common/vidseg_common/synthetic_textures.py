"""Texture descriptions and their rendering: recoloured photographs, procedural fields, blends.

A description (``TextureSpec``) is resolution-independent; ``make_texture`` paints it at any size.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import cv2
import numpy as np

from vidseg_common.synthetic_colors import (
    UNCHANGED,
    Color,
    Recolor,
    color_matrix,
    palette_table,
    sample_color,
    sample_palette,
    sample_recolor,
    vary_color,
)
from vidseg_common.synthetic_photos import (
    NUM_NOISES,
    NUM_SMOOTH_NOISES,
    PHOTO_WEIGHTS,
    load_photo,
    noise_bank,
)

_PHOTO_NAMES = tuple(PHOTO_WEIGHTS)
_PHOTO_EDGES = np.cumsum(list(PHOTO_WEIGHTS.values())) / sum(PHOTO_WEIGHTS.values())
_POSITIONS = np.arange(256, dtype=np.float32)


@dataclass(frozen=True)
class TextureSpec:
    """Description of a texture.

    Attributes:
        kind: ``"photo"``, ``"noise"``, ``"stripes"`` or ``"plain"``.
        photo: Name of the photograph (kind "photo").
        noise: Index into the noise bank (the other kinds).
        center: Middle of the crop, fractions of the source.
        extent: Part of the source's shorter side that covers the texture's longer side.
        angle: Rotation of the crop in radians.
        stretch: Length along the texture's y over length along x in the source: values above 1
            draw the picture out along x (water, roads, grain).
        flip: Whether the crop is mirrored.
        cycles: Number of stripes across the texture (kind "stripes").
        strength: How much the noise bends the stripes, or tints a plain colour.
        steps: Whether palette colours change abruptly (spots, painted stripes) or smoothly.
        recolor: Colours.
        overlay: A second texture painted through a soft or sharp noise mask.
        overlay_share: Part of the area that the second texture takes.
        overlay_softness: Width of the transition as a part of the mask's range.
        overlay_noise: Index, extent and shift of the mask's noise.
    """

    kind: str
    photo: str = ""
    noise: int = 0
    center: tuple[float, float] = (0.5, 0.5)
    extent: float = 0.5
    angle: float = 0.0
    stretch: float = 1.0
    flip: bool = False
    cycles: float = 6.0
    strength: float = 0.0
    steps: bool = False
    recolor: Recolor = UNCHANGED
    overlay: TextureSpec | None = None
    overlay_share: float = 0.5
    overlay_softness: float = 0.1
    overlay_noise: tuple[int, float, float] = (0, 0.5, 0.0)


def _sample_photo(rng: np.random.Generator, extents: tuple[float, float]) -> TextureSpec:
    """Draw a recoloured crop of a photograph."""
    name = _PHOTO_NAMES[int(np.searchsorted(_PHOTO_EDGES, rng.random()))]
    low, high = math.log(extents[0]), math.log(extents[1])
    draws = rng.random(6)
    angle = 0.0 if draws[0] < 0.5 else float(rng.normal(0, 0.25 if draws[0] < 0.75 else 2.0))
    return TextureSpec(
        kind="photo",
        photo=name,
        center=(float(draws[1]), float(draws[2])),
        extent=math.exp(low + (high - low) * float(draws[3])),
        angle=angle,
        stretch=math.exp(rng.normal(0, 0.2)),
        flip=bool(draws[4] < 0.5),
        recolor=sample_recolor(rng, grey=load_photo(name).is_grey),
    )


def _sample_procedural(rng: np.random.Generator, kind: str) -> TextureSpec:
    """Draw a procedural texture of one kind."""
    draws = rng.random(6)
    palette: tuple[Color, ...]
    if kind == "plain":
        base = sample_color(rng)
        palette = (base, vary_color(rng, base, 0.02 + 0.12 * float(draws[0])))
    else:
        palette = sample_palette(rng, int(rng.integers(2, 6)))
    return TextureSpec(
        kind=kind,
        noise=int(rng.integers(NUM_NOISES)),
        center=(float(draws[1]), float(draws[2])),
        extent=0.15 * math.exp(1.9 * float(draws[3])),
        angle=2 * math.pi * float(draws[4]) if rng.random() < 0.6 else 0.0,
        stretch=math.exp(abs(rng.normal(0, 1.0))) if rng.random() < 0.5 else 1.0,
        cycles=1.5 * math.exp(2.5 * rng.random()),
        strength=float(rng.choice([0.0, 0.3, 1.0])),
        steps=bool(draws[5] < 0.45) and kind != "plain",
        recolor=Recolor(palette=palette),
    )


def sample_texture(
    rng: np.random.Generator,
    *,
    photo: float,
    plain: float,
    extents: tuple[float, float],
    blend: float = 0.25,
) -> TextureSpec:
    """Draw a texture.

    Args:
        rng: Source of randomness.
        photo: Probability of a photograph.
        plain: Probability of a nearly uniform colour; the rest is noise and stripes.
        extents: Smallest and largest crop of a photograph (see ``TextureSpec.extent``).
        blend: Probability that a second texture shows through a mask.
    """
    draw = rng.random()
    if draw < photo:
        spec = _sample_photo(rng, extents)
    elif draw < photo + plain:
        spec = _sample_procedural(rng, "plain")
    else:
        spec = _sample_procedural(rng, "noise" if rng.random() < 0.6 else "stripes")
    if rng.random() >= blend:
        return spec
    second = sample_texture(rng, photo=photo, plain=plain, extents=extents, blend=0.0)
    return dataclasses.replace(
        spec,
        overlay=second,
        overlay_share=rng.uniform(0.2, 0.6),
        overlay_softness=float(rng.choice([0.01, 0.1, 0.5])),
        overlay_noise=(
            int(rng.integers(NUM_SMOOTH_NOISES)),
            0.1 * math.exp(1.8 * rng.random()),
            rng.random(),
        ),
    )


def sample_related(rng: np.random.Generator, spec: TextureSpec, change: float) -> TextureSpec:
    """Draw another crop of the same material in nearly the same colours.

    Args:
        rng: Source of randomness.
        spec: Texture to resemble.
        change: Size of the difference in colour, 0 to 1.
    """
    recolor = spec.recolor
    palette = None
    if recolor.palette is not None:
        palette = tuple(vary_color(rng, color, 0.25 * change) for color in recolor.palette)
    draws = rng.uniform(-1, 1, 4) * change
    recolor = dataclasses.replace(
        recolor,
        hue=recolor.hue + 0.6 * float(draws[0]),
        brightness=recolor.brightness + 0.2 * float(draws[1]),
        saturation=recolor.saturation * math.exp(0.4 * float(draws[2])),
        palette=palette,
    )
    return dataclasses.replace(
        spec,
        center=(rng.random(), rng.random()),
        extent=spec.extent * math.exp(0.4 * float(draws[3])),
        angle=spec.angle + float(rng.normal(0, 0.3)),
        recolor=recolor,
    )


def _crop(source: np.ndarray, spec: TextureSpec, height: int, width: int, wrap: bool) -> np.ndarray:
    """Cut a turned, scaled and mirrored piece out of an array."""
    rows, columns = source.shape[:2]
    step = spec.extent * min(rows, columns) / max(height, width)
    cos, sin = step * math.cos(spec.angle), step * math.sin(spec.angle)
    mirror = -1.0 if spec.flip else 1.0
    matrix = np.array([[mirror * cos, -sin, 0.0], [mirror * sin, cos, 0.0]])
    matrix[:, 1] *= spec.stretch
    middle_x, middle_y = spec.center[0] * columns, spec.center[1] * rows
    if not wrap:
        # Shift the crop inwards, so that little of it is the mirrored border.
        reach = 0.5 * np.abs(matrix[:, :2]) @ (width, height)
        reach_x, reach_y = min(float(reach[0]), 0.5 * columns), min(float(reach[1]), 0.5 * rows)
        middle_x = reach_x + spec.center[0] * (columns - 2 * reach_x)
        middle_y = reach_y + spec.center[1] * (rows - 2 * reach_y)
    # The middle of the picture, in pixel centres on both sides, is the middle of the crop.
    shift = matrix[:, :2] @ ((width - 1) / 2, (height - 1) / 2)
    matrix[:, 2] = (middle_x - 0.5, middle_y - 0.5) - shift
    border = cv2.BORDER_WRAP if wrap else cv2.BORDER_REFLECT_101
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(source, matrix, (width, height), flags=flags, borderMode=border)


def _paint_photo(spec: TextureSpec, height: int, width: int) -> np.ndarray:
    """Paint a recoloured photograph."""
    levels = load_photo(spec.photo).levels
    step = spec.extent * min(levels[0].shape[:2]) / max(height, width)
    level = min(len(levels) - 1, max(0, int(math.log2(max(step, 1.0)) + 0.4)))
    image = _crop(levels[level], spec, height, width, wrap=False)
    recolor = spec.recolor
    if recolor.palette is not None:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        table = palette_table(recolor.palette, steps=False)
        image = cv2.LUT(cv2.merge([grey, grey, grey]), table)
        recolor = dataclasses.replace(recolor, hue=0.0, brightness=0.5 * recolor.brightness)
    image = cv2.transform(image, color_matrix(recolor))
    if recolor.gamma != 1.0:
        curve = 255 * (_POSITIONS / 255) ** recolor.gamma
        image = cv2.LUT(image, curve.astype(np.uint8))
    return image


def _paint_field(spec: TextureSpec, height: int, width: int) -> np.ndarray:
    """Paint a procedural texture through its palette."""
    field = _crop(noise_bank()[spec.noise], spec, height, width, wrap=True)
    if spec.kind == "stripes":
        scale = 256 * spec.cycles / max(height, width)
        x = np.arange(width, dtype=np.float32) * (scale * math.cos(spec.angle))
        y = np.arange(height, dtype=np.float32) * (scale * math.sin(spec.angle))
        phase = x[None] + y[:, None] + field * np.float32(0.5 * spec.strength)
        # A triangle wave: the palette is run through forwards and backwards.
        field = np.abs(phase.astype(np.int32) % 512 - 256).clip(0, 255).astype(np.uint8)
    table = palette_table(spec.recolor.palette or ((0, 0, 0), (1, 1, 1)), steps=spec.steps)
    image = cv2.LUT(cv2.merge([field, field, field]), table)
    return cv2.GaussianBlur(image, (3, 3), 0) if spec.steps else image


def cut_noise(noise: np.ndarray, place: TextureSpec, height: int, width: int) -> np.ndarray:
    """Cut a (height, width) piece out of a tileable field as a texture of that place would."""
    return _crop(noise, place, height, width, wrap=True)


def make_texture(spec: TextureSpec, height: int, width: int) -> np.ndarray:
    """Paint a texture.

    Args:
        spec: Description.
        height: Rows.
        width: Columns.

    Returns:
        (height, width, 3) RGB uint8, the same for the same arguments.
    """
    paint = _paint_photo if spec.kind == "photo" else _paint_field
    image = paint(spec, height, width)
    if spec.overlay is None:
        return image
    second = make_texture(spec.overlay, height, width)
    index, extent, shift = spec.overlay_noise
    place = TextureSpec("noise", extent=extent, center=(shift, 1 - shift), angle=6 * shift)
    mask = _crop(noise_bank()[index], place, height, width, wrap=True)
    ramp = (spec.overlay_share - _POSITIONS / 255) / max(spec.overlay_softness, 0.02) + 0.5
    weight = cv2.LUT(mask, ramp.clip(0, 1).astype(np.float32))
    return cv2.blendLinear(second, image, weight, 1 - weight)
