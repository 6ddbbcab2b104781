"""The description of a synthetic video: what is in it and how it moves, without any pixel.

A scene is drawn once from a seed; ``synthetic_render`` turns it into frames and masks.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from vidseg_common.errors import ConfigError
from vidseg_common.synthetic_motion import (
    CameraMotion,
    ObjectMotion,
    Signal,
)
from vidseg_common.synthetic_shapes import Body
from vidseg_common.synthetic_textures import TextureSpec

MAX_OBJECTS = 20
_SIZE_LIMITS = (16, 4096)


@dataclass(frozen=True)
class SceneOptions:
    """What scenes are drawn from. Probabilities are per scene or per object, in 0..1.

    Attributes:
        min_area: Smallest nominal share of the frame that an object takes.
        max_area: Largest nominal share of the frame that an object takes.
        speed: Factor on all movements; 0 gives a still picture apart from entries and limbs.
        warp: Factor on smooth non-rigid deformations.
        articulated: Probability that an object has moving parts.
        cutout: Probability that an object is cut out of a photograph along its own outline.
        late_entry: Probability that an object comes in later (never the first object).
        leave: Probability that an object leaves.
        distractors: Mean number of objects that are not annotated.
        similar: Probability that an object looks like the background or another object.
        parallax: Probability of a second background layer.
        occluders: Probability of something static in front of objects.
        shadow: Probability of soft shadows.
        motion_blur: Probability of motion blur.
        defocus: Probability of a blurred background or frame.
        noise: Probability of sensor noise.
        illumination: Probability of light that changes with time.
        jpeg: Probability of compression artefacts.
    """

    min_area: float = 0.03
    max_area: float = 0.4
    speed: float = 1.0
    warp: float = 1.0
    articulated: float = 0.76
    cutout: float = 0.12
    late_entry: float = 0.12
    leave: float = 0.1
    distractors: float = 0.7
    similar: float = 0.2
    parallax: float = 0.4
    occluders: float = 0.2
    shadow: float = 0.4
    motion_blur: float = 0.35
    defocus: float = 0.35
    noise: float = 0.6
    illumination: float = 0.5
    jpeg: float = 0.3

    def __post_init__(self) -> None:
        """Refuse values outside their ranges."""
        if not 0.0 < self.min_area <= self.max_area <= 1.0:
            raise ConfigError("0 < min_area <= max_area <= 1 must hold")
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 0:
                raise ConfigError(f"{field.name} must not be negative")


@dataclass(frozen=True)
class LayerSpec:
    """A picture plane that moves with the camera.

    Attributes:
        texture: What is painted on it.
        cover: ``"all"``, ``"ground"`` (below a wavy horizon), ``"patches"`` or ``"bars"``.
        share: Height of the horizon, or the part that patches or bars cover.
        noise: Index, extent and shift of the noise that shapes the cover.
        slant: How much the plane leans away from the viewer (a field, a road); 0 faces him.
        parallax: Factor on the camera's movement.
        depth: Objects of smaller depth are behind it.
    """

    texture: TextureSpec
    cover: str = "all"
    share: float = 1.0
    noise: tuple[int, float, float] = (0, 0.5, 0.0)
    slant: float = 0.0
    parallax: float = 1.0
    depth: float = -1.0


@dataclass(frozen=True)
class ObjectSpec:
    """An object of a scene.

    Attributes:
        object_id: 1.. for annotated objects, 0 for one that the annotation ignores.
        class_name: One of ``CLASS_NAMES``.
        body: Outlines and joints.
        textures: What the parts are painted with.
        motion: How it moves.
        area: Nominal share of the frame.
        depth: Order from back (small) to front.
        shading: Strength of the light gradient across it.
        rim: Strength of the darkening towards its borders.
        softness: Blur of its border as a part of its size.
    """

    object_id: int
    class_name: str
    body: Body
    textures: tuple[TextureSpec, ...]
    motion: ObjectMotion
    area: float
    depth: float
    shading: float
    rim: float
    softness: float


@dataclass(frozen=True)
class EffectsSpec:
    """Light, lens and sensor.

    Attributes:
        shutter: Exposure as a part of the time between frames; 0 is no motion blur.
        background_blur: Blur of the background, part of the frame's shorter side.
        frame_blur: Blur of everything, part of the frame's shorter side.
        noise: Standard deviation of the sensor noise on the 0..255 scale.
        light: Gain of red, green and blue over time, as logarithms.
        shadow: Darkness of the shadows, 0 to 1.
        shadow_shift: Where shadows fall, part of the object's size, x and y.
        jpeg_quality: 1..100, or None for no compression.
    """

    shutter: float
    background_blur: float
    frame_blur: float
    noise: float
    light: tuple[Signal, Signal, Signal]
    shadow: float
    shadow_shift: tuple[float, float]
    jpeg_quality: int | None


@dataclass(frozen=True)
class Scene:
    """A whole video before rendering.

    Attributes:
        seed: The seed it was drawn from; also seeds the sensor noise.
        name: Name of the video, ten hexadecimal digits as in YouTube-VOS.
        num_frames: Length.
        height: Rows of a frame.
        width: Columns of a frame.
        camera: How the camera moves.
        layers: Picture planes, the background first.
        objects: Annotated objects in the order of their ids, then the ignored ones.
        effects: Light, lens and sensor.
    """

    seed: int
    name: str
    num_frames: int
    height: int
    width: int
    camera: CameraMotion
    layers: tuple[LayerSpec, ...]
    objects: tuple[ObjectSpec, ...]
    effects: EffectsSpec

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of the annotated objects, 1..N."""
        return tuple(spec.object_id for spec in self.objects if spec.object_id)


def object_extent(body: Body, area: float, height: int, width: int) -> tuple[float, float, float]:
    """Return pixels per object unit and the nominal size of an object in a frame.

    Args:
        body: Outlines.
        area: Nominal share of the frame.
        height: Rows of the frame.
        width: Columns of the frame.

    Returns:
        Pixels per unit, and half of the width and of the height in fractions of the frame.
    """
    left, top, right, bottom = body.bounds()
    scale = math.sqrt(area * height * width / body.area())
    # Thin bodies of a large area would be much longer than the frame.
    scale = min(scale, 1.15 * width / (right - left), 1.05 * height / (bottom - top))
    return scale, scale * (right - left) / (2 * width), scale * (bottom - top) / (2 * height)
