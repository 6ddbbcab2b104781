"""Figures of the attention between the frames of a clip (spec 8.5).

The first row has the frames with masks and boxes; row t below it shows where the query of frame
t looks in every frame. Letters: T frames, H and W of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from devis.inference.attention import LayerAttention
from devis.inference.results import TrackResult
from devis.outputs.drawing import Color, Image, color_of, draw_box, mask_of, paint, write

#: Width of one picture of the figure in pixels.
CELL_WIDTH = 320
#: Pixels between pictures.
GAP = 6
#: What is left of the frame's brightness below the attention.
DIMMED = 0.45
#: How much masks cover the frames of the first row.
MASK_WEIGHT = 0.55
#: Pixels of a dash, and of the space after it.
DASH = 6


@dataclass(frozen=True)
class Shown:
    """An instance of a clip in a figure.

    Attributes:
        track: what is seen of it in the real frames.
        slot: of its query.
        text: beside its box.
    """

    track: TrackResult
    slot: int
    text: str


def figure(
    images: Sequence[Image],
    shown: Sequence[Shown],
    attention: LayerAttention,
    *,
    merge: int | None,
    level: int,
) -> Image:
    """Draws the attention of some instances.

    Args:
        images: the n real frames of the clip, which come first.
        shown: any number of instances; each has the colour of its track.
        attention: of a decoder layer.
        merge: points of all levels on the grid of this one; None: those of `level`.
        level: see `merge`.

    Returns:
        The figure of n + 1 rows and n columns.
    """
    frames = [_fit(image) for image in images]
    rows = [[_frame(image, shown, t) for t, image in enumerate(images)]]
    for t in range(len(images)):
        cells = [(frame * DIMMED).astype(np.uint8) for frame in frames]
        for one in shown:
            maps = attention.seen_from(t, one.slot, merge, level)[: len(images)].float()
            _lay_over(cells, maps, color_of(one.track.number))
            for seen, cell in enumerate(cells):
                reference = attention.reference(t, seen, one.slot)
                _mark(cell, reference, color_of(one.track.number), solid=seen == t)
        rows.append(cells)
    return _joined(rows)


def _fit(image: Image) -> Image:
    height = max(1, round(image.shape[0] * CELL_WIDTH / image.shape[1]))
    resized = cv2.resize(image, (CELL_WIDTH, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


def _frame(image: Image, shown: Sequence[Shown], t: int) -> Image:
    """A frame with the masks and boxes of instances, at the size of a cell."""
    picture = image.copy()
    for one in shown:
        seen = one.track.frames[t]
        if seen is not None:
            paint(picture, mask_of(seen), color_of(one.track.number), MASK_WEIGHT)
    fitted = _fit(picture)
    scale = fitted.shape[1] / picture.shape[1]
    for one in shown:
        seen = one.track.frames[t]
        if seen is not None:
            box, color = [value * scale for value in seen.box], color_of(one.track.number)
            draw_box(fitted, box, color)
            write(fitted, one.text, box[:2], color)
    return fitted


def _lay_over(cells: Sequence[Image], maps: torch.Tensor, color: Color) -> None:
    """Paints (T, H, W) maps, relative to the largest value of all, over as many pictures."""
    size = cells[0].shape[:2]
    large = F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
    strength: NDArray[np.float32] = (large / large.max().clamp(min=1e-9)).sqrt().cpu().numpy()
    for cell, part in zip(cells, strength, strict=True):
        mixed = cell * (1 - part[..., None]) + part[..., None] * np.array(color, np.float32)
        cell[:] = mixed.round().astype(np.uint8)


def _mark(cell: Image, reference: Sequence[float], color: Color, *, solid: bool) -> None:
    """A cross at the reference point, and the reference box, if there is one."""
    height, width = cell.shape[:2]
    x, y = reference[0] * width, reference[1] * height
    bright: Color = tuple(min(255, value // 2 + 128) for value in color)  # type: ignore[assignment]
    place = (round(x), round(y))
    cv2.drawMarker(cell, place, bright, cv2.MARKER_TILTED_CROSS, 9, 1, cv2.LINE_AA)
    if len(reference) == 2:
        return
    half = reference[2] * width / 2, reference[3] * height / 2
    box = [x - half[0], y - half[1], x + half[0], y + half[1]]
    if solid:
        draw_box(cell, box, bright)
    else:
        _dashed_box(cell, box, bright)


def _dashed_box(cell: Image, box: Sequence[float], color: Color) -> None:
    # Boxes may reach far out of the picture; what is drawn of them ends just outside of it.
    limits = (cell.shape[1], cell.shape[0])
    left, top = (max(-2, min(round(v), m + 2)) for v, m in zip(box[:2], limits, strict=True))
    right, bottom = (max(-2, min(round(v), m + 2)) for v, m in zip(box[2:], limits, strict=True))
    for x in range(left, right, 2 * DASH):
        for y in (top, bottom):
            cv2.line(cell, (x, y), (min(x + DASH, right), y), color)
    for y in range(top, bottom, 2 * DASH):
        for x in (left, right):
            cv2.line(cell, (x, y), (x, min(y + DASH, bottom)), color)


def _joined(rows: Sequence[Sequence[Image]]) -> Image:
    """Pictures of one size in rows and columns, on white."""
    height, width = rows[0][0].shape[:2]
    size = (GAP + len(rows) * (height + GAP), GAP + len(rows[0]) * (width + GAP), 3)
    sheet = np.full(size, 255, np.uint8)
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            top, left = GAP + i * (height + GAP), GAP + j * (width + GAP)
            sheet[top : top + height, left : left + width] = cell
    return sheet
