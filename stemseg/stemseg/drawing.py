"""Colours, masks and boxes drawn over frames. Source: spec section 10.

Letters: H, W rows and columns. Frames are BGR.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Color = tuple[int, int, int]

OPACITY = 0.6
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


@lru_cache(maxsize=1)
def color_map() -> Image:
    """(256, 3) colours of Pascal VOC; a triple is used as it is, also where BGR is meant."""
    index = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= (((index >> channel) & 1) << (7 - bit)).astype(np.uint8)
        index = index >> 3
    return colors


def color_of(number: int) -> Color:
    """Colour of an instance number; the map is used over and over."""
    red, green, blue = (int(value) for value in color_map()[number % 256])
    return red, green, blue


def overlay_mask(
    image: Image, mask: NDArray[np.generic], color: Color, opacity: float = OPACITY
) -> Image:
    """Paints a mask over a frame.

    Args:
        image: (H, W, 3); not changed.
        mask: (H, W), anything but 0 is painted; the rest may lose 1 by rounding.
        color: in the order of the image's channels.
        opacity: of the paint, 0..1.
    """
    paint = np.where(np.asarray(mask)[..., None] != 0, np.asarray(color, np.uint8), image)
    # Outside of the mask this mixes the image with itself, whose truncation is part of the
    # original's pictures.
    return (opacity * paint + (1 - opacity) * image).astype(np.uint8)


def box_of(mask: NDArray[np.generic]) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of a mask, the latter two exclusive; None for an empty one."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def annotate_instance(
    image: Image,
    mask: NDArray[np.generic],
    color: Color,
    text: str,
    *,
    font_scale: float = 0.5,
) -> Image:
    """Paints a mask, its box, and a text at the box's corner; an empty mask changes nothing.

    Args:
        image: (H, W, 3); not changed.
        mask: (H, W).
        color: of mask and box.
        text: black on white.
        font_scale: of the text.
    """
    box = box_of(mask)
    if box is None:
        return image
    left, top, right, bottom = box
    painted = overlay_mask(image, mask, color)
    cv2.rectangle(painted, (left, top), (right, bottom), color, 2)
    font = cv2.FONT_HERSHEY_SIMPLEX
    (width, height), baseline = cv2.getTextSize(text, font, font_scale, 1)
    # The text stays inside the picture.
    line = max(top, height + baseline)
    cv2.rectangle(painted, (left, line - height - baseline), (left + width, line), _WHITE, -1)
    cv2.putText(painted, text, (left, line - baseline), font, font_scale, _BLACK, 1, cv2.LINE_AA)
    return painted
