"""Objects cut out of scikit-image's photographs along outlines drawn by hand for this project."""

from __future__ import annotations

import math

import numpy as np

from vidseg_common.synthetic_colors import Recolor, sample_recolor
from vidseg_common.synthetic_photos import load_photo
from vidseg_common.synthetic_shapes import Body, Part
from vidseg_common.synthetic_textures import TextureSpec

# Photograph, class, and the outline as pixels x y x y ... of the photograph.
_CUTOUTS: tuple[tuple[str, str, str], ...] = (
    (
        "motorcycle_left.png",
        "cycle",
        "92 205 95 197 124 200 143 186 141 157 152 148 176 167 248 170 286 195 329 186 354 190 "
        "381 171 410 162 448 154 433 148 395 145 392 139 405 126 416 122 426 126 424 138 448 "
        "148 469 152 471 126 486 113 500 112 493 88 505 80 545 95 545 102 519 99 529 116 548 "
        "125 562 118 581 122 579 141 564 143 557 173 538 186 552 210 576 264 610 273 648 316 "
        "678 371 683 410 667 440 638 452 605 443 571 419 538 371 522 333 505 329 505 300 533 "
        "276 514 238 500 214 481 224 476 248 476 314 457 352 419 376 343 371 341 433 329 436 "
        "329 373 281 360 257 386 219 403 181 392 143 362 122 319 119 276 135 250 110 243 100 "
        "229",
    ),
    (
        "chelsea.png",
        "quadruped",
        "2 89 37 50 40 0 385 0 375 37 348 75 344 102 363 124 359 161 343 186 345 221 329 248 "
        "292 280 248 299 10 299 2 248",
    ),
    (
        "astronaut.png",
        "person",
        "155 87 155 56 180 31 211 19 248 17 286 37 301 75 298 112 273 134 261 155 258 176 292 "
        "199 308 230 304 255 335 261 360 292 365 342 385 345 435 352 478 391 497 453 511 472 "
        "511 511 25 511 22 447 31 348 56 273 112 224 114 193 137 161 180 149 180 127 161 109",
    ),
    (
        "camera.png",
        "person",
        "154 108 167 82 206 67 244 72 270 102 274 121 321 140 328 170 354 198 354 230 309 237 "
        "302 288 251 314 206 294 174 346 144 391 152 511 90 511 100 455 51 468 0 455 0 243 41 "
        "183 84 144 135 125",
    ),
    (
        "coffee.png",
        "blob",
        "184 67 203 44 255 24 293 18 357 27 402 63 424 72 419 114 460 159 480 211 477 275 447 "
        "333 396 372 332 388 267 388 203 372 139 333 100 294 78 237 81 185 113 121",
    ),
)

CUTOUT_NAMES: tuple[str, ...] = tuple(name for name, *_ in _CUTOUTS)
"""Photographs that have an object to cut out."""


def sample_cutout(rng: np.random.Generator) -> tuple[Body, TextureSpec]:
    """Draw an object of a photograph with its own picture, often in other colours.

    Returns:
        The body and its texture; see ``make_cutout``.
    """
    name, *_ = _CUTOUTS[int(rng.integers(len(_CUTOUTS)))]
    return make_cutout(
        name,
        flip=bool(rng.random() < 0.5),
        recolor=sample_recolor(rng, grey=load_photo(name).is_grey),
        stretch=math.exp(rng.normal(0, 0.1)),
        upright=bool(rng.random() < 0.8),
    )


def make_cutout(
    name: str,
    *,
    flip: bool,
    recolor: Recolor,
    stretch: float = 1.0,
    upright: bool = True,
) -> tuple[Body, TextureSpec]:
    """Cut an object out of a photograph.

    Args:
        name: One of ``CUTOUT_NAMES``.
        flip: Whether it is mirrored.
        recolor: Change of colour.
        stretch: Factor on its width.
        upright: See ``Body``.

    Returns:
        The body, one part that its texture fits exactly, and that texture.

    Raises:
        KeyError: There is no such cut-out.
    """
    kind, numbers = {known: rest for known, *rest in _CUTOUTS}[name]
    pixels = np.array(numbers.split(), np.float32).reshape(-1, 2)
    rows, columns = load_photo(name).levels[0].shape[:2]
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    size, middle = high - low, (low + high) / 2
    width = -stretch if flip else stretch
    outline = (pixels - middle) * (np.array([width, 1.0]) * (2 / float(size.max())))
    slack = np.maximum((columns, rows) - size, 1e-3)
    center = np.clip((middle - size / 2) / slack, 0, 1)
    texture = TextureSpec(
        kind="photo",
        photo=name,
        center=(float(center[0]), float(center[1])),
        extent=float(size.max()) / min(rows, columns),
        flip=flip,
        recolor=recolor,
    )
    part = Part(outline.astype(np.float32), fits_texture=True)
    return Body(kind, (part,), upright), texture
