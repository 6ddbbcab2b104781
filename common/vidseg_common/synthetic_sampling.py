"""Draws scenes: which textures, bodies, movements and effects a seed gives."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np

from vidseg_common.errors import ConfigError
from vidseg_common.synthetic_bodies import sample_body
from vidseg_common.synthetic_creatures import NUM_TEXTURES
from vidseg_common.synthetic_cutouts import sample_cutout
from vidseg_common.synthetic_motion import sample_camera, sample_object_motion, sample_signal
from vidseg_common.synthetic_scene import (
    EffectsSpec,
    LayerSpec,
    ObjectSpec,
    Scene,
    SceneOptions,
    object_extent,
)
from vidseg_common.synthetic_textures import TextureSpec, sample_related, sample_texture

MAX_OBJECTS = 20
_MAX_DISTRACTORS = 3
_SIZE_LIMITS = (16, 4096)


def _sample_layers(rng: np.random.Generator, options: SceneOptions) -> list[LayerSpec]:
    """Draw the background, perhaps a second plane behind the objects and occluders."""
    background = sample_texture(rng, photo=0.85, plain=0.05, extents=(0.3, 1.1), blend=0.2)
    layers = [LayerSpec(background)]
    if rng.random() < options.parallax:
        ground = rng.random() < 0.6
        layers.append(
            LayerSpec(
                sample_texture(rng, photo=0.75, plain=0.15, extents=(0.2, 1.0)),
                cover="ground" if ground else "patches",
                share=rng.uniform(0.25, 0.75) if ground else rng.uniform(0.15, 0.4),
                noise=(int(rng.integers(1, 5)), rng.uniform(0.1, 0.4), rng.random()),
                slant=rng.uniform(0.0, 0.8) if ground else 0.0,
                parallax=rng.uniform(0.8, 1.5),
                depth=-0.5,
            )
        )
    if rng.random() < options.occluders:
        like = sample_related(rng, background, 0.5)
        other = sample_texture(rng, photo=0.7, plain=0.2, extents=(0.1, 0.6))
        layers.append(
            LayerSpec(
                like if rng.random() < 0.5 else other,
                cover="bars" if rng.random() < 0.5 else "patches",
                share=rng.uniform(0.04, 0.16),
                noise=(int(rng.integers(1, 6)), rng.uniform(0.35, 1.0), rng.random()),
                parallax=rng.uniform(1.0, 2.2),
                depth=rng.uniform(0.2, 1.1),
            )
        )
    return layers


def _sample_effects(rng: np.random.Generator, options: SceneOptions) -> EffectsSpec:
    """Draw light, lens and sensor."""
    chance = rng.random(6)
    drift = 0.12 if chance[4] < options.illumination else 0.0
    common = sample_signal(rng, drift * rng.random(), (20, 150))
    tint = [rng.normal(0, 0.04) for _ in range(3)]
    gains = tuple(dataclasses.replace(common, offset=t) for t in tint)
    blurred = chance[1] < options.defocus
    whole = rng.random() < 0.3
    blur = float(rng.uniform(0.002, 0.012)) if blurred else 0.0
    return EffectsSpec(
        shutter=float(rng.uniform(0.2, 0.7)) if chance[0] < options.motion_blur else 0.0,
        background_blur=0.0 if whole else blur,
        frame_blur=0.4 * blur if whole else 0.0,
        noise=float(rng.uniform(1.0, 9.0)) if chance[2] < options.noise else 0.0,
        light=(gains[0], gains[1], gains[2]),
        shadow=float(rng.uniform(0.2, 0.6)) if chance[3] < options.shadow else 0.0,
        shadow_shift=(float(rng.normal(0, 0.12)), float(rng.uniform(0.0, 0.2))),
        jpeg_quality=int(rng.integers(30, 90)) if chance[5] < options.jpeg else None,
    )


def _sample_looks(
    rng: np.random.Generator, options: SceneOptions, seen: list[TextureSpec]
) -> tuple[TextureSpec, ...]:
    """Draw an object's textures, sometimes near to one that is already in the scene."""
    if rng.random() < options.similar:
        first = sample_related(rng, seen[int(rng.integers(len(seen)))], rng.uniform(0.15, 1.0))
    else:
        first = sample_texture(rng, photo=0.55, plain=0.25, extents=(0.1, 0.8))
    looks = [first]
    for _ in range(NUM_TEXTURES - 1):
        if rng.random() < 0.4:
            looks.append(sample_related(rng, first, rng.uniform(0.2, 1.0)))
        else:
            looks.append(sample_texture(rng, photo=0.45, plain=0.4, extents=(0.08, 0.6), blend=0.1))
    return tuple(looks)


def _sample_start(
    rng: np.random.Generator, half: tuple[float, float], taken: list[tuple[float, float]]
) -> tuple[float, float]:
    """Draw a start that leaves most of the object in the frame, far from the others."""
    best, best_distance = (0.5, 0.5), -1.0
    for _ in range(6):
        margin_x, margin_y = min(0.85 * half[0], 0.45), min(0.85 * half[1], 0.45)
        place = (rng.uniform(margin_x, 1 - margin_x), rng.uniform(margin_y, 1 - margin_y))
        distance = min((math.dist(place, other) for other in taken), default=1.0)
        if distance > best_distance:
            best, best_distance = place, distance
        if distance > 0.35:
            break
    return best


def _sample_passage_kind(
    rng: np.random.Generator, options: SceneOptions, object_id: int
) -> Literal["enter", "leave"] | None:
    """Draw whether an object comes in late or leaves; the first one never comes late."""
    if object_id != 1 and rng.random() < options.late_entry:
        return "enter"
    return "leave" if rng.random() < options.leave else None


def _sample_object(
    rng: np.random.Generator,
    options: SceneOptions,
    frame: tuple[int, int, int],
    object_id: int,
    num_objects: int,
    taken: list[tuple[float, float]],
    seen: list[TextureSpec],
) -> ObjectSpec:
    """Draw one object; ``frame`` is (number of frames, height, width)."""
    cutout = sample_cutout(rng) if rng.random() < options.cutout else None
    body = sample_body(rng, options.articulated) if cutout is None else cutout[0]
    # Uniform in the logarithm; several objects share the frame, so they are smaller.
    top = max(options.min_area, options.max_area / max(1.0, 0.75 * num_objects))
    area = math.exp(rng.uniform(math.log(options.min_area), math.log(top)))
    _, half_x, half_y = object_extent(body, area, frame[1], frame[2])
    start = _sample_start(rng, (half_x, half_y), taken)
    passage = _sample_passage_kind(rng, options, object_id)
    if passage != "enter":
        taken.append(start)
    motion = sample_object_motion(
        rng, start, (half_x, half_y), frame[0], options.speed, options.warp, passage, body.upright
    )
    textures = _sample_looks(rng, options, seen) if cutout is None else (cutout[1],)
    seen.append(textures[0])
    return ObjectSpec(
        object_id=object_id,
        class_name=body.kind,
        body=body,
        textures=textures,
        motion=motion,
        area=area,
        depth=rng.random(),
        shading=float(rng.uniform(0.0, 0.5)),
        rim=float(rng.choice([0.0, 0.3, 0.6])),
        softness=float(rng.choice([0.0, 0.0, 0.006, 0.015])),
    )


def make_scene(
    seed: int,
    num_frames: int,
    height: int,
    width: int,
    num_objects: int | None = None,
    options: SceneOptions | None = None,
) -> Scene:
    """Draw a scene.

    Speeds are per frame and do not depend on ``num_frames``, except that entries and exits are
    placed within the video.

    Args:
        seed: Any non-negative integer; the same arguments give the same scene.
        num_frames: Length, at least 1.
        height: Rows of a frame, 16 to 4096.
        width: Columns of a frame, 16 to 4096.
        num_objects: Number of annotated objects, 1 to 20; None draws 1 to 3.
        options: What to draw from; None for the defaults.

    Raises:
        ConfigError: An argument is outside its range.
    """
    _check(seed, num_frames, (height, width), num_objects)
    options = options or SceneOptions()
    rng = np.random.default_rng(seed)
    name = f"{int(rng.integers(2**40)):010x}"
    camera = sample_camera(rng, options.speed)
    layers = _sample_layers(rng, options)
    count = num_objects or int(rng.integers(1, 4))
    seen = [layer.texture for layer in layers[:2]]
    objects = _sample_objects(rng, options, (num_frames, height, width), count, seen)
    effects = _sample_effects(rng, options)
    return Scene(seed, name, num_frames, height, width, camera, tuple(layers), objects, effects)


def _sample_objects(
    rng: np.random.Generator,
    options: SceneOptions,
    frame: tuple[int, int, int],
    count: int,
    seen: list[TextureSpec],
) -> tuple[ObjectSpec, ...]:
    """Draw the annotated objects and then some that are ignored."""
    others = min(int(rng.poisson(options.distractors)), _MAX_DISTRACTORS)
    taken: list[tuple[float, float]] = []
    objects = []
    for index in range(count + others):
        if index == count:
            # Those that follow are ignored: let them resemble what is annotated.
            options = dataclasses.replace(options, similar=max(options.similar, 0.6))
            seen = seen[1:]
        object_id = index + 1 if index < count else 0
        objects.append(_sample_object(rng, options, frame, object_id, count, taken, seen))
    return tuple(objects)


def _check(seed: int, num_frames: int, size: tuple[int, int], num_objects: int | None) -> None:
    """Raise a ConfigError for arguments outside their ranges."""
    if seed < 0:
        raise ConfigError(f"seed must not be negative, not {seed}")
    if num_frames < 1:
        raise ConfigError(f"num_frames must be at least 1, not {num_frames}")
    low, high = _SIZE_LIMITS
    if not all(low <= side <= high for side in size):
        raise ConfigError(f"height and width must be {low} to {high}, not {size[0]} x {size[1]}")
    if num_objects is not None and not 1 <= num_objects <= MAX_OBJECTS:
        raise ConfigError(f"num_objects must be 1 to {MAX_OBJECTS}, not {num_objects}")
