"""Tracks drawn over frames (spec 6). Frames are (H, W, 3) uint8, RGB.

Letters: H, W rows and columns of a frame; n tracks.
"""

from __future__ import annotations

import colorsys
import random
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from vatrack.inference.results import FrameResult
from vidseg_common import rle
from vidseg_common.rle import RLE

Image = NDArray[np.uint8]
Color = tuple[int, int, int]

#: How much masks cover the frame.
WEIGHT = 0.5
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PALETTE_SIZE = 64


@lru_cache(maxsize=4096)
def color_of(number: int) -> Color:
    """Colour of a track: one of 64, chosen by a generator seeded with its number."""
    place = random.Random(number).randrange(_PALETTE_SIZE)
    # The golden ratio spreads hues; three shades tell neighbours apart.
    hue, shade = (place * 0.618034) % 1.0, place % 3
    channels = colorsys.hsv_to_rgb(hue, (0.95, 0.65, 0.8)[shade], (0.95, 1.0, 0.7)[shade])
    red, green, blue = (round(255 * channel) for channel in channels)
    return red, green, blue


def label_of(number: int, name: str, score: float) -> str:
    """The text of a track: its number, class and score."""
    return f"{number} {name} {score:.2f}"


def shown_rows(frame: FrameResult, threshold: float) -> list[int]:
    """Rows of the tracks with a score above a threshold, the best first."""
    order = np.argsort(-frame.scores, kind="stable")
    return [int(row) for row in order if frame.scores[row] > threshold]


def draw_masks(
    image: Image,
    frame: FrameResult,
    names: Sequence[str],
    masks: str,
    threshold: float,
) -> Image:
    """One kind of masks, with boxes and labels, as `--show-dir` has them.

    Args:
        image: (H, W, 3), not changed.
        frame: what was found in it.
        names: of the classes.
        masks: "visible" or "amodal".
        threshold: tracks that score no more are left out.
    """
    picture, rows = image.copy(), shown_rows(frame, threshold)
    encoded = _masks_of(frame, masks)
    boxes = _boxes_of(frame, masks)
    # The best track is drawn last, over the others.
    for row in reversed(rows):
        _paint(picture, rle.decode(encoded[row]), color_of(int(frame.ids[row])))
    for row in reversed(rows):
        color = color_of(int(frame.ids[row]))
        left, top, right, bottom = (round(float(v)) for v in boxes[row, :4])
        cv2.rectangle(picture, (left, top), (right, bottom), color, _line_width(picture))
        _write(picture, _label(frame, row, names), (left, top), color)
    return picture


def draw_joint(image: Image, frame: FrameResult, names: Sequence[str], threshold: float) -> Image:
    """Visible masks filled, amodal ones as outlines, labels at the boxes.

    Args:
        image: (H, W, 3), not changed.
        frame: what was found in it, with one kind of masks or both.
        names: of the classes.
        threshold: tracks that score no more are left out.
    """
    picture, rows = image.copy(), shown_rows(frame, threshold)
    colors = [color_of(number) for number in frame.ids.tolist()]
    for row in reversed(rows if frame.visible_masks is not None else []):
        _paint(picture, rle.decode(_masks_of(frame, "visible")[row]), colors[row])
    for row in reversed(rows if frame.amodal_masks is not None else []):
        _outline(picture, rle.decode(_masks_of(frame, "amodal")[row]), colors[row])
    for row in reversed(rows):
        left, top = (round(float(value)) for value in frame.boxes[row, :2])
        _write(picture, _label(frame, row, names), (left, top), colors[row])
    return picture


def _label(frame: FrameResult, row: int, names: Sequence[str]) -> str:
    label = int(frame.labels[row])
    name = names[label] if label < len(names) else str(label)
    return label_of(int(frame.ids[row]), name, float(frame.scores[row]))


def _masks_of(frame: FrameResult, masks: str) -> list[RLE]:
    found = frame.visible_masks if masks == "visible" else frame.amodal_masks
    if found is None:
        raise ValueError(f"the frame has no {masks} masks")
    return found


def _boxes_of(frame: FrameResult, masks: str) -> NDArray[np.float32]:
    own = frame.visible_boxes if masks == "visible" else None
    return frame.boxes if own is None else own


def _paint(picture: Image, mask: NDArray[np.bool_], color: Color) -> None:
    """Mixes a colour into the part of a picture that holds a mask."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    part = (slice(top, top + height), slice(left, left + width))
    inside, pixels = mask[part], picture[part]
    mixed = pixels[inside] * (1 - WEIGHT) + WEIGHT * np.array(color, np.float32)
    pixels[inside] = mixed.round()


def _outline(picture: Image, mask: NDArray[np.bool_], color: Color) -> None:
    """Draws the border of a mask, light on dark, so that it shows on any ground."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    width = _line_width(picture)
    cv2.drawContours(picture, contours, -1, (0, 0, 0), width + 2, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, color, width, cv2.LINE_AA)


def _line_width(picture: Image) -> int:
    return max(1, round(min(picture.shape[:2]) / 360))


def _write(picture: Image, text: str, corner: tuple[int, int], color: Color) -> None:
    """Writes on a bar that ends above a corner, moved into the picture where it would leave it."""
    scale = max(0.35, min(picture.shape[:2]) / 1200)
    (width, height), baseline = cv2.getTextSize(text, _FONT, scale, 1)
    left = max(0, min(corner[0], picture.shape[1] - width))
    bottom = max(corner[1], height + baseline)
    picture[bottom - height - baseline : bottom, left : left + width] = color
    ink = (0, 0, 0) if sum(color) > 400 else (255, 255, 255)
    place = (left, bottom - baseline // 2 - 1)
    cv2.putText(picture, text, place, _FONT, scale, ink, 1, cv2.LINE_AA)
