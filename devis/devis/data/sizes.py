"""Sizes and windows that training draws; all are multiplied by one factor (spec 4.2, 4.3)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple


class Window(NamedTuple):
    """A part of an image; it may reach one pixel beyond it."""

    top: int
    left: int
    height: int
    width: int


#: Before a crop the shorter side becomes one of these, without a limit for the longer one.
BEFORE_CROP = (400, 500, 600)
#: The pair that bounds crops.
CROP = (384, 600)


def scaled(sizes: Sequence[int], factor: float) -> list[int]:
    """Sizes times a factor, rounded down to 1 or more."""
    return [max(int(size * factor), 1) for size in sizes]


def clip_window(size: tuple[int, int], factor: float, rng: random.Random) -> Window | None:
    """The part of every frame of a clip that stays; None: all of it.

    The corner is drawn from one place too many, as the published models were trained, so that
    the part may be a pixel short.

    Args:
        size: height and width of the frames.
        factor: of all sizes.
        rng: source of the draws.
    """
    smallest, largest = scaled(CROP, factor)
    limits = [min(side, largest) for side in size]
    if smallest > min(limits):
        return None
    width, height = (rng.randint(smallest, limit) for limit in reversed(limits))
    left, top = rng.randint(0, size[1] - width + 1), rng.randint(0, size[0] - height + 1)
    return Window(top, left, height, width)


def image_window(size: tuple[int, int], factor: float, rng: random.Random) -> Window:
    """The part of an image that stays.

    The pair that bounds it is taken for a smallest width and height, not for a smallest and a
    largest side, as the published models were trained.

    Args:
        size: height and width of the image.
        factor: of all sizes.
        rng: source of the draws.
    """
    least = scaled(CROP, factor)
    width, height = (
        rng.randint(min(smallest, side), side)
        for smallest, side in zip(least, reversed(size), strict=True)
    )
    top, left = rng.randint(0, size[0] - height), rng.randint(0, size[1] - width)
    return Window(top, left, height, width)
