"""Masks, boxes and texts drawn over frames (spec 8.5). Frames are (H, W, 3) uint8, RGB."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from devis.inference.matching import Seen
from vidseg_common import rle
from vidseg_common.visualize import color_for_id

Image = NDArray[np.uint8]
Color = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE = (255, 255, 255)


def color_of(place: int) -> Color:
    """Colour of the instance at a place from 0: those of PASCAL VOC, over and over."""
    return color_for_id(place + 1)


def mask_of(seen: Seen) -> NDArray[np.bool_]:
    """The (H, W) mask of an instance in a frame."""
    return rle.decode(seen.mask[0].encoded[seen.mask[1]])


def paint(picture: Image, mask: NDArray[np.bool_], color: Color, weight: float) -> None:
    """Mixes a colour into a picture.

    Args:
        picture: is changed.
        mask: where.
        color: red, green, blue.
        weight: of the colour, 0 to 1.
    """
    inside = picture[mask]
    picture[mask] = (inside * (1 - weight) + weight * np.array(color, np.float32)).round()


def draw_box(picture: Image, box: Sequence[float], color: Color) -> None:
    """Draws a box (left, top, right, bottom in pixels) into a picture."""
    left, top, right, bottom = (round(value) for value in box)
    cv2.rectangle(picture, (left, top), (right, bottom), color, _line_width(picture))


def write(picture: Image, text: str, corner: Sequence[float], color: Color) -> None:
    """Writes white text on a bar of some colour that begins at a corner (x, y) of a box.

    It is moved into the picture where it would leave it.
    """
    scale = max(0.35, min(picture.shape[:2]) / 900)
    (width, height), baseline = cv2.getTextSize(text, _FONT, scale, 1)
    left = max(0, min(round(corner[0]), picture.shape[1] - width))
    bottom = max(round(corner[1]), height + baseline)
    picture[bottom - height - baseline : bottom, left : left + width] = color
    place = (left, bottom - baseline // 2 - 1)
    cv2.putText(picture, text, place, _FONT, scale, _WHITE, 1, cv2.LINE_AA)


def draw_one(image: Image, seen: Seen | None, name: str, color: Color, weight: float) -> Image:
    """A frame with one instance: mask, box, `class|score`; just the frame where it is not seen."""
    picture = image.copy()
    if seen is not None:
        paint(picture, mask_of(seen), color, weight)
        draw_box(picture, seen.box, color)
        write(picture, f"{name}|{seen.score:.2f}", seen.box[:2], color)
    return picture


def draw_all(image: Image, instances: Sequence[tuple[Seen | None, str]], weight: float) -> Image:
    """A frame with all instances and the name of each at its box; later ones lie below.

    Args:
        image: is not changed.
        instances: what is seen of each in the frame, and the text.
        weight: of the colours of masks.
    """
    picture = image.copy()
    numbered = [(place, seen, text) for place, (seen, text) in enumerate(instances) if seen]
    for place, seen, _ in reversed(numbered):
        paint(picture, mask_of(seen), color_of(place), weight)
    for place, seen, text in reversed(numbered):
        write(picture, text, seen.box[:2], color_of(place))
    return picture


def _line_width(picture: Image) -> int:
    return max(1, round(min(picture.shape[:2]) / 360))
