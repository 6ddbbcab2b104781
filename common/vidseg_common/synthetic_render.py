"""Turns a scene into frames, exact visible masks and exact amodal masks.

A pixel belongs to an object where the object's own coverage (without blur of the lens or of the
movement) is above one half; of several objects the front one takes it. Each frame is computed
on its own, so any subset gives the same pixels as the whole video.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .errors import ConfigError
from .synthetic_effects import (
    add_grain,
    apply_light,
    blur_frame,
    cast_shadow,
    compress,
    light_field,
    streak_kernel,
)
from .synthetic_photos import noise_bank
from .synthetic_scene import LayerSpec, ObjectSpec, Scene, object_extent
from .synthetic_sprites import Sprite, composite
from .synthetic_textures import TextureSpec, cut_noise, make_texture

_PLANE_MARGIN = 1.25
_CELL = 8  # pixels between the points at which a deformation is computed


@dataclass(frozen=True, eq=False)
class SyntheticVideo:
    """Frames with their ground truth.

    Attributes:
        name: Ten hexadecimal digits.
        frames: (T, H, W, 3) RGB uint8.
        visible: (T, H, W) uint8 id map of what can be seen, 0 for all else.
        amodal: (N, T, H, W) bool, whole objects within the frame, hidden parts included.
        object_ids: Ids of the N objects, ascending.
        classes: Class names of the N objects.
        frame_indices: Which frames of the scene these are.
    """

    name: str
    frames: np.ndarray
    visible: np.ndarray
    amodal: np.ndarray
    object_ids: tuple[int, ...]
    classes: tuple[str, ...]
    frame_indices: tuple[int, ...]


class _Plane:
    """A painted background, ground or occluder."""

    def __init__(self, spec: LayerSpec, scene: Scene) -> None:
        self._scene, self.spec = scene, spec
        height = math.ceil(scene.height * _PLANE_MARGIN)
        width = math.ceil(scene.width * _PLANE_MARGIN)
        self._color = make_texture(spec.texture, height, width)
        self._alpha = None if spec.cover == "all" else self._cover(height, width)
        if self._alpha is None:
            short = min(scene.height, scene.width)
            self._color = blur_frame(self._color, scene.effects.background_blur * short)

    def _cover(self, height: int, width: int) -> np.ndarray:
        """Return where the plane is opaque."""
        spec = self.spec
        index, extent, shift = spec.noise
        place = TextureSpec("noise", extent=extent, center=(shift, 1 - shift), angle=6 * shift)
        noise = cut_noise(noise_bank()[index], place, height, width)
        if spec.cover == "patches":
            field = noise.astype(np.int16) - round(255 * (1 - spec.share))
            return np.clip(field * 10 + 128, 0, 255).astype(np.uint8)
        if spec.cover == "ground":
            line = height * (1 - spec.share + 0.3 * (noise[height // 2].astype(float) / 255 - 0.5))
            rows = np.arange(height)[:, None]
            return np.clip((rows - line) * 128 + 128, 0, 255).astype(np.uint8)
        alpha = np.zeros((height, width), np.uint8)
        count = 1 + round(3 * shift)
        thick = max(2, round(spec.share * width / count))
        for k in range(count):
            x = round(width * ((k + 0.5 + 0.6 * (shift - 0.5)) / count))
            lean = round(0.25 * width * (shift - 0.5) * (-1) ** k)
            cv2.line(alpha, (x - lean, -9), (x + lean, height + 9), 255, thick, cv2.LINE_AA)
        return alpha

    def _matrix(self, time: float) -> np.ndarray:
        """Return the (2, 3) map from frame pixels to the plane's pixels."""
        scene, camera = self._scene, self._scene.camera
        zoom = math.exp(-min(max(camera.log_zoom.at(time), -0.7), 0.9))
        angle = camera.angle.at(time)
        cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
        pan_x = self.spec.parallax * camera.x.at(time) + camera.shake[0].at(time)
        pan_y = self.spec.parallax * camera.y.at(time) + camera.shake[1].at(time)
        matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])
        rows, columns = self._color.shape[:2]
        middle = (columns / 2 + pan_x * scene.width, rows / 2 + pan_y * scene.height)
        matrix[:, 2] = middle - matrix[:, :2] @ (scene.width / 2, scene.height / 2)
        return matrix

    def paint(self, frame: np.ndarray | None, time: float) -> tuple[np.ndarray, np.ndarray | None]:
        """Paint the plane over a frame; returns the frame and the opaque area (None for all)."""
        matrix = self._matrix(time)
        size = (self._scene.width, self._scene.height)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        border = cv2.BORDER_REFLECT_101
        color = cv2.warpAffine(self._color, matrix, size, flags=flags, borderMode=border)
        shutter = self._scene.effects.shutter
        if shutter > 0.0:
            step = (self._matrix(time + 0.5) - self._matrix(time - 0.5)) @ (*np.divide(size, 2), 1)
            kernel = streak_kernel(*(-shutter * step))
            if kernel is not None:
                color = cv2.filter2D(color, -1, kernel)
        if self._alpha is None or frame is None:
            return color, None
        alpha = cv2.warpAffine(self._alpha, matrix, size, flags=flags, borderMode=border)
        weight = alpha.astype(np.float32) * np.float32(1 / 255)
        return cv2.blendLinear(color, frame, weight, 1 - weight), alpha > 127


class _Actor:
    """An object with its sprite."""

    def __init__(self, spec: ObjectSpec, scene: Scene, index: int) -> None:
        self.spec, self._scene = spec, scene
        self._unit, *_ = object_extent(spec.body, spec.area, scene.height, scene.width)
        self.sprite = Sprite(spec, 1.1 * self._unit, seed=scene.seed * 64 + index)

    def place(self, time: float) -> np.ndarray:
        """Return the (3, 3) homography from object units to frame pixels."""
        motion, scene, camera = self.spec.motion, self._scene, self._scene.camera
        share = motion.camera_share
        x, y = motion.centre(time)
        x -= share * camera.x.at(time) + camera.shake[0].at(time)
        y -= share * camera.y.at(time) + camera.shake[1].at(time)
        log_scale = motion.log_scale.at(time) + share * camera.log_zoom.at(time)
        scale = self._unit * math.exp(min(max(log_scale, -1.3), 0.9))
        angle = motion.angle.at(time) - share * camera.angle.at(time)
        squeeze = math.exp(min(max(motion.squeeze.at(time), -1.0), 0.35))
        c, s = math.cos(motion.squeeze_axis), math.sin(motion.squeeze_axis)
        axis = np.array([[c, -s], [s, c]])
        shape = axis @ np.diag((squeeze, 1.0)) @ axis.T
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        matrix = np.eye(3)
        matrix[:2, :2] = scale * turn @ shape
        matrix[:2, 2] = x * scene.width - 0.5, y * scene.height - 0.5
        tilt = np.eye(3)
        # Bounded, so that no corner of the sprite comes near the horizon.
        tilt[2, :2] = [min(max(signal.at(time), -0.3), 0.3) for signal in motion.tilt]
        center = np.eye(3)
        center[:2, 2] = -self.sprite.center[0], -self.sprite.center[1]
        return matrix @ tilt @ center

    def window(self, matrix: np.ndarray) -> tuple[int, int, int, int]:
        """Return left, top, right, bottom of the object's place in the frame (may be empty)."""
        rows, columns = self.sprite.size
        slack = 1.5 * self.spec.motion.warp
        x0, y0 = self.sprite.origin[0] - slack, self.sprite.origin[1] - slack
        x1 = self.sprite.origin[0] + columns / self.sprite.scale + slack
        y1 = self.sprite.origin[1] + rows / self.sprite.scale + slack
        corners = matrix @ np.array([[x0, x1, x0, x1], [y0, y0, y1, y1], [1, 1, 1, 1]])
        spots = corners[:2] / np.maximum(corners[2], 0.1)
        left, top = np.floor(spots.min(axis=1)).astype(int) - 1
        right, bottom = np.ceil(spots.max(axis=1)).astype(int) + 2
        return (
            max(int(left), 0),
            max(int(top), 0),
            min(int(right), self._scene.width),
            min(int(bottom), self._scene.height),
        )

    def draw(
        self, window: tuple[int, int, int, int], matrix: np.ndarray, time: float
    ) -> np.ndarray:
        """Return the object as premultiplied RGBA of the window's size."""
        left, top, right, bottom = window
        cells_x, cells_y = -(-(right - left) // _CELL) + 2, -(-(bottom - top) // _CELL) + 2
        # Cell centres, with one row and column more on each side for the interpolation.
        xs = left + _CELL * (np.arange(cells_x) - 0.5) - 0.5
        ys = top + _CELL * (np.arange(cells_y) - 0.5) - 0.5
        back = np.linalg.inv(matrix)
        depth = np.maximum(back[2, 0] * xs + back[2, 1] * ys[:, None] + back[2, 2], 1e-3)
        x = (back[0, 0] * xs + back[0, 1] * ys[:, None] + back[0, 2]) / depth
        y = (back[1, 0] * xs + back[1, 1] * ys[:, None] + back[1, 2]) / depth
        x, y = self._deform(x, y, time)
        sprite = self.sprite
        grid = np.stack([x - sprite.origin[0], y - sprite.origin[1]], axis=2)
        grid = (grid * sprite.scale - 0.5).astype(np.float32)
        fine = cv2.resize(grid, (cells_x * _CELL, cells_y * _CELL), interpolation=cv2.INTER_LINEAR)
        fine = fine[_CELL : _CELL + bottom - top, _CELL : _CELL + right - left]
        picture = cv2.remap(sprite.picture(time), fine[..., 0], fine[..., 1], cv2.INTER_LINEAR)
        if self.spec.shading > 0.05:
            light = self.spec.motion.light.at(time)
            field = light_field(bottom - top, right - left, light, self.spec.shading)
            even = np.full_like(field, 128)
            picture = cv2.multiply(picture, cv2.merge([field, field, field, even]), scale=1 / 128)
        return picture

    def _deform(self, x: np.ndarray, y: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Bend object coordinates by the non-rigid deformation of a moment."""
        motion = self.spec.motion
        if motion.warp == 0.0:
            return x, y
        (kx, ky, fx, px), (lx, ly, fy, py) = motion.warp_waves
        rest_x, rest_y = x, y
        x = x + motion.warp * np.sin(kx * rest_x + ky * rest_y + 2 * math.pi * fx * time + px)
        y = y + motion.warp * np.sin(lx * rest_x - ly * rest_y + 2 * math.pi * fy * time + py)
        return x, y

    def streak(self, time: float) -> np.ndarray | None:
        """Return the motion-blur filter of a moment."""
        shutter = self._scene.effects.shutter
        if shutter == 0.0:
            return None
        center = (*self.sprite.center, 1.0)
        ahead, behind = self.place(time + 0.5) @ center, self.place(time - 0.5) @ center
        return streak_kernel(*(shutter * (ahead[:2] / ahead[2] - behind[:2] / behind[2])))


class Renderer:
    """Paints the frames of one scene; keeps the painted textures between calls.

    Args:
        scene: What to paint.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        planes = [_Plane(spec, scene) for spec in scene.layers]
        actors = [_Actor(spec, scene, i) for i, spec in enumerate(scene.objects)]
        self._order: list[_Plane | _Actor] = sorted(
            [*planes, *actors], key=lambda item: item.spec.depth
        )

    def frame(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Paint one frame.

        Args:
            index: Frame number, 0 to ``num_frames - 1``.

        Returns:
            The (H, W, 3) picture, the (H, W) visible id map and the (N, H, W) amodal masks.
        """
        scene = self.scene
        shape = (scene.height, scene.width)
        image: np.ndarray | None = None
        visible = np.zeros(shape, np.uint8)
        amodal = np.zeros((len(scene.object_ids), *shape), bool)
        for item in self._order:
            if isinstance(item, _Plane):
                image, cover = item.paint(image, float(index))
                if cover is not None:
                    visible[cover] = 0
            else:
                assert image is not None
                self._add_actor(item, image, visible, amodal, float(index))
        assert image is not None
        return self._finish(image, index), visible, amodal

    def _add_actor(
        self,
        actor: _Actor,
        image: np.ndarray,
        visible: np.ndarray,
        amodal: np.ndarray,
        time: float,
    ) -> None:
        """Paint one object and its shadow and enter it into the masks."""
        matrix = actor.place(time)
        window = actor.window(matrix)
        left, top, right, bottom = window
        if right - left < 1 or bottom - top < 1:
            return
        picture = actor.draw(window, matrix, time)
        inside = picture[..., 3] > 127
        object_id = actor.spec.object_id
        visible[top:bottom, left:right][inside] = object_id
        if object_id:
            amodal[object_id - 1, top:bottom, left:right] = inside
        effects = self.scene.effects
        if effects.shadow > 0.0:
            side = min(right - left, bottom - top)
            corner = (
                left + round(effects.shadow_shift[0] * side),
                top + round(effects.shadow_shift[1] * side),
            )
            alpha = np.ascontiguousarray(picture[..., 3])
            cast_shadow(image, alpha, corner, effects.shadow, max(4, side // 6))
        kernel = actor.streak(time)
        if kernel is not None:
            picture = cv2.filter2D(picture, -1, kernel, borderType=cv2.BORDER_CONSTANT)
        composite(image[top:bottom, left:right], picture)

    def _finish(self, image: np.ndarray, index: int) -> np.ndarray:
        """Apply light, lens, sensor and compression."""
        effects = self.scene.effects
        image = blur_frame(image, effects.frame_blur * min(image.shape[:2]))
        gains = [signal.at(index) for signal in effects.light]
        image = apply_light(image, (gains[0], gains[1], gains[2]))
        if effects.noise > 0.0:
            rng = np.random.default_rng((self.scene.seed, index))
            image = add_grain(image, effects.noise, rng)
        if effects.jpeg_quality is not None:
            image = compress(image, effects.jpeg_quality)
        return image


def render(scene: Scene, frame_indices: Sequence[int] | None = None) -> SyntheticVideo:
    """Paint frames of a scene.

    Args:
        scene: What to paint.
        frame_indices: Frame numbers in any order; None paints all.

    Raises:
        ConfigError: A frame number is outside the scene.
    """
    indices = tuple(range(scene.num_frames) if frame_indices is None else frame_indices)
    for index in indices:
        if not 0 <= index < scene.num_frames:
            raise ConfigError(f"frame {index} is outside the scene of {scene.num_frames} frames")
    renderer = Renderer(scene)
    ids = scene.object_ids
    frames = np.empty((len(indices), scene.height, scene.width, 3), np.uint8)
    visible = np.empty(frames.shape[:3], np.uint8)
    amodal = np.empty((len(ids), *frames.shape[:3]), bool)
    for t, index in enumerate(indices):
        frames[t], visible[t], amodal[:, t] = renderer.frame(index)
    classes = tuple(spec.class_name for spec in scene.objects if spec.object_id)
    return SyntheticVideo(scene.name, frames, visible, amodal, ids, classes, indices)
