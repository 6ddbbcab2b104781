"""Results drawn over frames. Source: spec section 9 (colours, opacity, texts).

Letters: H, W rows and columns; n instances. Frames are RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stmask.config_data import COLORS
from stmask.inference.postprocess import FrameResult

Image = NDArray[np.uint8]
Color = tuple[int, int, int]

MASK_ALPHA = 0.45
_WHITE = (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_DUPLEX
_FONT_SCALE = 0.6


@dataclass(frozen=True)
class DrawOptions:
    """What to draw.

    Attributes:
        top_k: the most instances, best score first.
        score_threshold: instances with a lower score are left out.
        masks: paint masks, where the result has any.
        boxes: draw boxes.
        text: write class and id beside boxes.
        scores: write the score too.
    """

    top_k: int = 100
    score_threshold: float = 0.0
    masks: bool = True
    boxes: bool = True
    text: bool = True
    scores: bool = True


def color_of(object_id: int) -> Color:
    """Colour of an object, the same in every frame; the palette is used over and over."""
    return COLORS[(5 * object_id) % len(COLORS)]


def label_of(name: str, score: float | None, object_id: int) -> str:
    """The text of an instance, such as "dog: 0.93: 2"."""
    parts = [name, *([] if score is None else [f"{score:.2f}"]), str(object_id)]
    return ": ".join(parts)


def draw_instances(
    image: Image,
    found: FrameResult,
    class_names: Sequence[str],
    options: DrawOptions | None = None,
    *,
    fps: float | None = None,
) -> Image:
    """Draws the instances of a frame.

    Args:
        image: (H, W, 3) uint8, RGB; not changed.
        found: instances at the size of the image.
        class_names: name of class c at c - 1; other classes are shown by number.
        options: what to draw.
        fps: also write this number of frames per second into the corner.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: masks of another size than the image.
    """
    options = options or DrawOptions()
    picture = image.copy()
    order = _chosen(found, options)
    if options.masks and found.masks.size:
        _paint(picture, found, order)
    # The best instance is drawn last, over the others.
    for i in order[::-1] if options.boxes or options.text else ():
        _annotate(picture, found, int(i), class_names, options)
    if fps is not None:
        _write(picture, f"{fps:.1f} fps", (0, 0), None)
    return picture


def _chosen(found: FrameResult, options: DrawOptions) -> NDArray[np.int64]:
    """Rows of the instances to draw, best score first; equal scores keep their order."""
    scores = np.asarray(found.scores)
    order = np.argsort(-scores, kind="stable")[: options.top_k]
    return order[scores[order] >= options.score_threshold]


def _paint(picture: Image, found: FrameResult, order: NDArray[np.int64]) -> None:
    """Mixes masks into a picture, best last, each inside of the box that holds it."""
    if found.masks.shape[1:] != picture.shape[:2]:
        raise ValueError(f"masks are {found.masks.shape[1:]}, the image {picture.shape[:2]}")
    for i in order[::-1]:
        mask = found.masks[i]
        left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
        part = (slice(top, top + height), slice(left, left + width))
        inside, pixels = mask[part], picture[part]
        paint = MASK_ALPHA * np.array(color_of(int(found.ids[i])), np.float32)
        pixels[inside] = (pixels[inside] * (1 - MASK_ALPHA) + paint).round()


def _annotate(
    picture: Image, found: FrameResult, i: int, names: Sequence[str], options: DrawOptions
) -> None:
    left, top, right, bottom = (int(value) for value in found.boxes[i])
    object_id, class_idx = int(found.ids[i]), int(found.classes[i]) - 1
    color = color_of(object_id)
    if options.boxes:
        cv2.rectangle(picture, (left, top), (right, bottom), color, _line_width(picture))
    if options.text:
        name = names[class_idx] if 0 <= class_idx < len(names) else str(class_idx + 1)
        score = float(found.scores[i]) if options.scores else None
        _write(picture, label_of(name, score, object_id), (left, top), color)


def _line_width(picture: Image) -> int:
    return max(1, round(min(picture.shape[:2]) / 360))


def _write(picture: Image, text: str, corner: tuple[int, int], color: Color | None) -> None:
    """Writes white text on a bar that ends above the corner, moved into the picture if needed.

    Without a colour the bar is the darkened picture itself.
    """
    scale = _FONT_SCALE * max(0.6, min(picture.shape[:2]) / 480)
    (width, height), baseline = cv2.getTextSize(text, _FONT, scale, 1)
    left = max(0, min(corner[0], picture.shape[1] - width))
    bottom = max(corner[1], height + baseline)
    bar = picture[bottom - height - baseline : bottom, left : left + width]
    bar[:] = bar // 3 if color is None else color
    place = (left, bottom - baseline // 2 - 1)
    cv2.putText(picture, text, place, _FONT, scale, _WHITE, 1, cv2.LINE_AA)
