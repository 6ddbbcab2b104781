"""Picture planes that move with the camera: backgrounds, fields, walls, occluders."""

from __future__ import annotations

import math

import cv2
import numpy as np

from vidseg_common.synthetic_effects import blur_frame, streak_kernel
from vidseg_common.synthetic_photos import noise_bank
from vidseg_common.synthetic_scene import LayerSpec, Scene
from vidseg_common.synthetic_textures import TextureSpec, cut_noise, make_texture

_PLANE_MARGIN = 1.25  # size of a plane over the size of the frame


def _lean(picture: np.ndarray, slant: float, horizon: float) -> np.ndarray:
    """Lean a picture back, so that it is compressed towards a horizon (fraction of its height).

    What lies above the horizon is meant to be hidden.
    """
    height, width = picture.shape[:2]
    far, spread = height * max(0.0, horizon - 0.2), 1.5 * slant * width
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    leaning = flat.copy()
    leaning[:2, 1] = far
    leaning[2:, 0] += (spread, -spread)
    matrix = cv2.getPerspectiveTransform(flat, leaning)
    border = cv2.BORDER_REFLECT_101
    return cv2.warpPerspective(picture, matrix, (width, height), borderMode=border)


class Plane:
    """A painted background, ground or occluder."""

    def __init__(self, spec: LayerSpec, scene: Scene) -> None:
        self._scene, self.spec = scene, spec
        height = math.ceil(scene.height * _PLANE_MARGIN)
        width = math.ceil(scene.width * _PLANE_MARGIN)
        self._color = make_texture(spec.texture, height, width)
        if spec.slant > 0.0:
            self._color = _lean(self._color, spec.slant, 1 - spec.share)
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
