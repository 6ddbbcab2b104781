"""Pictures of results: masks drawn over frames, and sheets of several pictures.

Letters: H rows, W columns, N ids. An id has the same colour in every frame, video and run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vidseg_common.masks import DAVIS_PALETTE

Rgb = NDArray[np.uint8]

_NUM_COLORS = 255
_CONTOUR_LIFT = 0.5  # how far contours are moved from the colour of the object towards white
_CONTOUR_PER_PIXEL = 1 / 240  # width of contours, relative to the shorter side
_GAP = 6
_PAPER = (255, 255, 255)
_INK = (32, 32, 32)


def color_for_id(object_id: int) -> tuple[int, int, int]:
    """Colour of an object: that of the DAVIS palette, 255 colours used over and over.

    Args:
        object_id: any id >= 0; 0 is background, black.

    Returns:
        Red, green, blue, each 0 to 255. Source: spec common section 3.

    Raises:
        ValueError: the id is negative.
    """
    if object_id < 0:
        raise ValueError(f"object ids are not negative: {object_id}")
    red, green, blue = (int(value) for value in DAVIS_PALETTE[_color_index(object_id)])
    return red, green, blue


def overlay(
    image: Rgb,
    mask: NDArray[Any],
    *,
    alpha: float = 0.5,
    contours: bool = True,
    labels: bool = False,
    void: int | None = None,
) -> Rgb:
    """Paints objects over a frame.

    Args:
        image: (H, W, 3) uint8, RGB; not changed.
        mask: (H, W) ids, integer or bool; 0 is background.
        alpha: how much of the object's colour covers the frame, 0 to 1.
        contours: also draw the border of each object, inside it, in a lighter colour.
        labels: also write the id into each object.
        void: an id that is not an object and stays unpainted.

    Returns:
        (H, W, 3) uint8, a new array.

    Raises:
        ValueError: sizes or types do not fit, `alpha` is out of range, or an id is negative.
    """
    _check_overlay(image, mask, alpha)
    compact, ids = _compact(mask, void)
    if len(ids) == 1:
        return image.copy()
    fill, lines = _tables(ids)
    painted = _paint(image, _colors(compact, fill), compact, alpha)
    if contours:
        edge = _inner_edge(compact, _contour_width(compact.shape))
        cv2.copyTo(_colors(compact, lines), edge, painted)
    if labels:
        _draw_labels(painted, compact, ids)
    return painted


def side_by_side(images: Sequence[Rgb], *, captions: Sequence[str] | None = None) -> Rgb:
    """Puts images into one row; arguments and result as `contact_sheet`."""
    return contact_sheet(images, max(1, len(images)), captions=captions)


def contact_sheet(
    images: Sequence[Rgb],
    columns: int,
    *,
    captions: Sequence[str] | None = None,
    cell_width: int | None = None,
) -> Rgb:
    """Lays images out on white, row by row, each with its caption below.

    Args:
        images: (h, w, 3) uint8 each; smaller ones are centred in cells of the largest size.
        columns: images per row.
        captions: one text per image; cut with an ellipsis where it is too long.
        cell_width: scale images down to this width, in pixels; None keeps their size.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: no images, fewer than one column, or the number of captions differs.
    """
    if not images or columns < 1:
        raise ValueError("a contact sheet needs at least one image and one column")
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"{len(captions)} captions for {len(images)} images")
    images = [_fit_width(image, cell_width) for image in images]
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    font_size = min(28, max(11, width // 24))
    line = 0 if captions is None else round(1.6 * font_size)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    size = (_GAP + columns * (width + _GAP), _GAP + rows * (height + line + _GAP))
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, image in enumerate(images):
        left = _GAP + place % columns * (width + _GAP)
        top = _GAP + place // columns * (height + line + _GAP)
        inset = ((width - image.shape[1]) // 2, (height - image.shape[0]) // 2)
        sheet.paste(Image.fromarray(image), (left + inset[0], top + inset[1]))
        if captions is not None:
            text = _shorten(captions[place], width, font_size)
            middle = (left + width // 2, top + height + line // 2)
            draw.text(middle, text, _INK, _font(font_size), anchor="mm")
    return np.array(sheet)


def _check_overlay(image: Rgb, mask: NDArray[Any], alpha: float) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected an (H, W, 3) uint8 image, got {image.shape} {image.dtype}")
    if mask.shape != image.shape[:2]:
        raise ValueError(f"the mask is {mask.shape}, but the image {image.shape[:2]}")
    if mask.dtype.kind not in "biu":
        raise ValueError(f"a mask holds ids, not {mask.dtype} values")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in 0..1, not {alpha}")


def _color_index(object_id: int) -> int:
    return 0 if object_id == 0 else (object_id - 1) % _NUM_COLORS + 1


def _compact(mask: NDArray[Any], void: int | None) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Numbers the ids anew: (H, W) places, uint8 or int32, in the ascending (N,) list of ids.

    Place 0 is the background, and `void` with it.
    """
    if mask.size and mask.min() < 0:
        raise ValueError(f"object ids are not negative: {mask.min()}")
    if mask.dtype != np.uint8 and (not mask.size or mask.max() <= 255):
        mask = mask.astype(np.uint8)
    if mask.dtype == np.uint8:
        # Counting is many times faster than sorting the pixels.
        counts = cv2.calcHist([np.ascontiguousarray(mask)], [0], None, [256], [0, 256])
        ids = np.flatnonzero(counts.ravel())
    else:
        ids = np.unique(mask)
    ids = np.concatenate([[0], ids[(ids != 0) & (ids != (0 if void is None else void))]])
    ids = ids.astype(np.int64)
    if mask.dtype == np.uint8:
        places = np.zeros(256, np.uint8)
        places[ids] = np.arange(len(ids))
        return cv2.LUT(np.ascontiguousarray(mask), places), ids
    found = np.searchsorted(ids, mask).clip(max=len(ids) - 1)
    found[ids[found] != mask] = 0
    return found.astype(np.uint8 if len(ids) <= 256 else np.int32), ids


def _tables(ids: NDArray[np.int64]) -> tuple[Rgb, Rgb]:
    """Colours of the areas and of the contours: two (N, 3) tables."""
    fill = DAVIS_PALETTE[[_color_index(int(i)) for i in ids]]
    lines = fill + (255 - fill.astype(np.float32)) * _CONTOUR_LIFT
    return fill, lines.round().astype(np.uint8)


def _colors(compact: NDArray[Any], table: Rgb) -> Rgb:
    """(H, W, 3): the colour of every pixel."""
    if compact.dtype != np.uint8:
        return table[compact]
    full = np.zeros((1, 256, 3), np.uint8)
    full[0, : len(table)] = table
    return np.asarray(cv2.LUT(cv2.merge([compact] * 3), full), np.uint8)


def _paint(image: Rgb, colors: Rgb, compact: NDArray[Any], alpha: float) -> Rgb:
    mixed = cv2.addWeighted(colors, alpha, image, 1 - alpha, 0)
    painted = image.copy()
    cv2.copyTo(mixed, (compact != 0).view(np.uint8), painted)
    return painted


def _contour_width(shape: tuple[int, ...]) -> int:
    return max(1, round(min(shape[:2]) * _CONTOUR_PER_PIXEL))


def _inner_edge(compact: NDArray[Any], width: int) -> NDArray[np.uint8]:
    """(H, W) 0/1: pixels of objects that are nearer than `width` to another id.

    The border of the frame is no border of an object.
    """
    # OpenCV has no filter for 32-bit integers; up to 2**24 ids are exact in float32.
    values = compact if compact.dtype == np.uint8 else compact.astype(np.float32)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    edge = (cv2.dilate(values, kernel) != values) | (cv2.erode(values, kernel) != values)
    return (edge & (compact != 0)).view(np.uint8)


def _draw_labels(painted: Rgb, compact: NDArray[Any], ids: NDArray[np.int64]) -> None:
    """Writes each id at the point of its object that is farthest from the object's border."""
    size = min(painted.shape[:2]) / 480
    scale, thickness = max(0.4, 0.7 * size), max(1, round(2 * size))
    font = cv2.FONT_HERSHEY_SIMPLEX
    for place, object_id in enumerate(ids[1:].tolist(), start=1):
        area = (compact == place).view(np.uint8)
        left, top, width, height = cv2.boundingRect(area)
        inside = cv2.copyMakeBorder(
            area[top : top + height, left : left + width], 1, 1, 1, 1, cv2.BORDER_CONSTANT
        )
        x, y = cv2.minMaxLoc(cv2.distanceTransform(inside, cv2.DIST_L2, 3))[3]
        text = str(object_id)
        (text_width, text_height), _ = cv2.getTextSize(text, font, scale, thickness)
        corner = (left + x - 1 - text_width // 2, top + y - 1 + text_height // 2)
        for color, extra in (((0, 0, 0), 2), ((255, 255, 255), 0)):
            cv2.putText(painted, text, corner, font, scale, color, thickness + extra, cv2.LINE_AA)


def _fit_width(image: Rgb, width: int | None) -> Rgb:
    if width is None or image.shape[1] <= width:
        return image
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


@lru_cache(maxsize=8)
def _font(size: int) -> Any:
    """DejaVu Sans, which comes with matplotlib and knows most alphabets."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def _shorten(text: str, width: int, font_size: int) -> str:
    font = _font(font_size)
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
