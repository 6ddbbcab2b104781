"""Painted parts of an object and their assembly in the pose of a moment.

Pictures here are RGBA uint8 with premultiplied colours, so that resampling and compositing
borders is exact.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from vidseg_common.synthetic_photos import noise_bank
from vidseg_common.synthetic_scene import ObjectSpec
from vidseg_common.synthetic_shapes import Part, cover_outlines
from vidseg_common.synthetic_textures import make_texture

_MAX_SIDE = 900
_MARGIN = 0.03
_BORDER = 2  # transparent pixels around the picture


def composite(target: np.ndarray, source: np.ndarray) -> None:
    """Put a premultiplied picture over another of the same size, in place.

    Args:
        target: (H, W, 4) premultiplied RGBA or (H, W, 3) opaque RGB, uint8.
        source: (H, W, 4) premultiplied RGBA uint8.
    """
    channels = target.shape[2]
    rest = cv2.bitwise_not(source[..., 3])
    keep = cv2.multiply(target, cv2.merge([rest] * channels), scale=1 / 255)
    np.copyto(target, cv2.add(keep, source if channels == 4 else source[..., :3]))


def premultiply(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return RGBA from RGB (H, W, 3) and alpha (H, W), both uint8."""
    opaque = cv2.cvtColor(color, cv2.COLOR_RGB2RGBA)
    return cv2.multiply(opaque, cv2.merge([alpha] * 4), scale=1 / 255)


class Sprite:
    """An object's painted parts.

    Args:
        spec: The object.
        pixels_per_unit: Resolution; lowered if the picture would become too large.
        seed: Decides where on the textures the parts are cut out.

    Attributes:
        origin: Object coordinates of the picture's upper left corner.
        scale: Pixels per object unit.
        size: Rows and columns of the picture.
        center: Object coordinates of the middle of the rest pose.
    """

    def __init__(self, spec: ObjectSpec, pixels_per_unit: float, seed: int) -> None:
        left, top, right, bottom = spec.body.bounds()
        self.center = ((left + right) / 2, (top + bottom) / 2)
        low, high = spec.body.reach()
        margin = max(part.fuzz for part in spec.body.parts) + _MARGIN * (high - low)
        size = high - low + 2 * margin
        self.scale = min(pixels_per_unit, _MAX_SIDE / float(size.max()))
        columns, rows = np.ceil(size * self.scale).astype(int) + 2 * _BORDER
        self.size = (int(rows), int(columns))
        origin = low - margin - _BORDER / self.scale
        self.origin = (float(origin[0]), float(origin[1]))
        self._spec = spec
        self._rng = np.random.default_rng((seed, 77))
        extent = self.scale * max(right - left, bottom - top)
        side = max(8, min(_MAX_SIDE, math.ceil(0.8 * extent)))
        parts = spec.body.parts
        used = {part.texture for part in parts if not part.fits_texture}
        self._paints = {i: make_texture(spec.textures[i], side, side) for i in sorted(used)}
        self._pieces = [self._paint_part(part) for part in parts]
        self._rolls = not all(signal.is_still for signal in spec.motion.roll)
        self._base_color: np.ndarray | None = None
        self._still = self._assemble(0.0) if spec.body.is_rigid else None

    def _paint_part(self, part: Part) -> tuple[np.ndarray, int, int]:
        """Return a part's picture and its column and row in the object's picture."""
        low, high = part.outline.min(axis=0) - part.fuzz, part.outline.max(axis=0) + part.fuzz
        column, row = (math.floor((low[i] - self.origin[i]) * self.scale) - 1 for i in (0, 1))
        columns = math.ceil((high[0] - self.origin[0]) * self.scale) + 1 - column
        rows = math.ceil((high[1] - self.origin[1]) * self.scale) + 1 - row
        corner = (self.origin[0] + column / self.scale, self.origin[1] + row / self.scale)
        alpha = cover_outlines((rows, columns), part, self.scale, corner)
        shade = self._shade(alpha)
        alpha = self._soften(alpha, part)
        if part.fits_texture:
            color = self._fit(part, rows, columns)
        else:
            color = self._cut(self._paints[part.texture], rows, columns)
        if shade is not None:
            color = cv2.multiply(color, cv2.merge([shade] * 3), scale=1 / 255)
        return premultiply(color, alpha), column, row

    def _fit(self, part: Part, rows: int, columns: int) -> np.ndarray:
        """Paint a texture that is the picture of the part; the part has a margin of a pixel."""
        size = np.ptp(part.outline, axis=0) * self.scale
        height, width = max(1, round(float(size[1]))), max(1, round(float(size[0])))
        picture = make_texture(self._spec.textures[part.texture], height, width)
        below, right = max(0, rows - height - 1), max(0, columns - width - 1)
        picture = cv2.copyMakeBorder(picture, 1, below, 1, right, cv2.BORDER_REPLICATE)
        return picture[:rows, :columns]

    def _cut(self, paint: np.ndarray, rows: int, columns: int) -> np.ndarray:
        """Cut a random piece out of a texture, mirrored at its borders where it is too small."""
        side = paint.shape[0]
        if rows > side or columns > side:
            below, right = max(0, rows - side), max(0, columns - side)
            while below > 0 or right > 0:
                step_y, step_x = min(below, side - 1), min(right, side - 1)
                paint = cv2.copyMakeBorder(paint, 0, step_y, 0, step_x, cv2.BORDER_REFLECT_101)
                below, right = below - step_y, right - step_x
        top = int(self._rng.integers(paint.shape[0] - rows + 1))
        left = int(self._rng.integers(paint.shape[1] - columns + 1))
        return paint[top : top + rows, left : left + columns]

    def _shade(self, alpha: np.ndarray) -> np.ndarray | None:
        """Return a factor (255 is 1) that darkens towards the borders, as round bodies do."""
        if self._spec.rim == 0.0:
            return None
        reach = max(3, round(0.35 * min(alpha.shape))) | 1
        inner = cv2.blur(alpha, (reach, reach), borderType=cv2.BORDER_CONSTANT)
        return cv2.addWeighted(inner, self._spec.rim, inner, 0.0, 255 * (1 - self._spec.rim))

    def _soften(self, alpha: np.ndarray, part: Part) -> np.ndarray:
        """Blur or fray the border."""
        if part.fuzz > 0.0:
            reach = max(3, round(1.2 * part.fuzz * self.scale)) | 1
            wide = cv2.blur(alpha, (reach, reach), borderType=cv2.BORDER_CONSTANT)
            noise = noise_bank()[7]
            tile = np.tile(noise, (alpha.shape[0] // 512 + 1, alpha.shape[1] // 512 + 1))
            frayed = cv2.addWeighted(
                wide, 3.0, tile[: alpha.shape[0], : alpha.shape[1]], 1.2, -1.0 * 255 - 0.6 * 255
            )
            return cv2.blur(frayed, (3, 3), borderType=cv2.BORDER_CONSTANT)
        # Thin parts keep half of their width at least.
        sigma = min(self._spec.softness * max(self.size), 0.12 * min(alpha.shape))
        if sigma > 0.3:
            return cv2.GaussianBlur(alpha, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
        return alpha

    def _place(
        self, picture: np.ndarray, piece: tuple[np.ndarray, int, int], move: np.ndarray | None
    ) -> None:
        """Put one part over the picture."""
        image, column, row = piece
        rows, columns = image.shape[:2]
        if move is None:
            left, top = max(column, 0), max(row, 0)
            window = picture[top : max(row + rows, 0), left : max(column + columns, 0)]
            height, width = window.shape[:2]
            if height and width:
                top, left = top - row, left - column
                composite(window, image[top : top + height, left : left + width])
            return
        # Pixel p of the part is the object point origin + (p + corner + 0.5) / scale.
        linear = move[:, :2]
        origin = np.asarray(self.origin)
        shift = (linear @ origin + move[:, 2] - origin) * self.scale
        shift += linear @ (column + 0.5, row + 0.5) - 0.5
        matrix = np.column_stack([linear, shift])
        corners = np.array([[0, columns, 0, columns], [0, 0, rows, rows], [1, 1, 1, 1]])
        spots = matrix @ corners
        left, top = np.maximum(np.floor(spots.min(axis=1)).astype(int) - 1, 0)
        right, bottom = np.minimum(np.ceil(spots.max(axis=1)).astype(int) + 1, self.size[::-1])
        if right <= left or bottom <= top:
            return
        matrix[:, 2] -= (left, top)
        window = picture[top:bottom, left:right]
        composite(window, cv2.warpAffine(image, matrix, (right - left, bottom - top)))

    def _assemble(self, time: float) -> np.ndarray:
        """Put all parts together in the pose of a moment."""
        picture = np.zeros((*self.size, 4), np.uint8)
        for piece, move in zip(self._pieces, self._spec.body.pose(time), strict=True):
            self._place(picture, piece, move)
        return picture

    def _roll(self, picture: np.ndarray, time: float) -> np.ndarray:
        """Slide the surface of a rigid object under its outline."""
        if self._base_color is None:
            # Continue the surface beyond the outline by what is next to it.
            alpha = picture[..., 3]
            wide = cv2.GaussianBlur(picture, (0, 0), max(2.0, 0.08 * max(self.size)))
            weight = np.maximum(wide[..., 3:], 1).astype(np.float32)
            around = np.clip(wide[..., :3] * (255 / weight), 0, 255).astype(np.uint8)
            self._base_color = around.copy()
            self._base_color[:] = cv2.add(
                cv2.multiply(around, cv2.merge([cv2.bitwise_not(alpha)] * 3), scale=1 / 255),
                picture[..., :3],
            )
        slide = [signal.at(time) * self.scale for signal in self._spec.motion.roll]
        matrix = np.array([[1.0, 0.0, slide[0]], [0.0, 1.0, slide[1]]])
        moved = cv2.warpAffine(
            self._base_color, matrix, self.size[::-1], borderMode=cv2.BORDER_REFLECT_101
        )
        return premultiply(moved, picture[..., 3])

    def picture(self, time: float) -> np.ndarray:
        """Return the object in its own frame at a moment, (H, W, 4); not to be changed."""
        if self._still is None:
            return self._assemble(time)
        return self._roll(self._still, time) if self._rolls else self._still
