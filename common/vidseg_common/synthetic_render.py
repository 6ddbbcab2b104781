"""Turns a scene into frames, exact visible masks and exact amodal masks.

A pixel belongs to an object where the object's own coverage (without blur of the lens or of the
movement) is above one half; of several objects the front one takes it. Each frame is computed
on its own, so any subset gives the same pixels as the whole video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vidseg_common.errors import ConfigError
from vidseg_common.synthetic_actors import Actor
from vidseg_common.synthetic_effects import (
    add_grain,
    apply_light,
    blur_frame,
    cast_shadow,
    compress,
)
from vidseg_common.synthetic_planes import Plane
from vidseg_common.synthetic_scene import Scene
from vidseg_common.synthetic_sprites import composite


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


class Renderer:
    """Paints the frames of one scene; keeps the painted textures between calls.

    Args:
        scene: What to paint.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        planes = [Plane(spec, scene) for spec in scene.layers]
        actors = [Actor(spec, scene, i) for i, spec in enumerate(scene.objects)]
        self._order: list[Plane | Actor] = sorted(
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
            if isinstance(item, Plane):
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
        actor: Actor,
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
