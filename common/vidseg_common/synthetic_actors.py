"""Objects in a frame: where they are at a moment and how they look there."""

from __future__ import annotations

import math

import cv2
import numpy as np

from vidseg_common.synthetic_effects import light_field, streak_kernel
from vidseg_common.synthetic_scene import ObjectSpec, Scene, object_extent
from vidseg_common.synthetic_sprites import Sprite

_CELL = 8  # pixels between the points at which a deformation is computed


class Actor:
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
