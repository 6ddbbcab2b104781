"""The built-in sample: a short street-like scene with three objects that cross each other.

The scene is written out by hand in the terms of ``synthetic_scene``, so that it stays the same
whatever the random scenes become.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vidseg_common.synthetic_colors import Recolor
from vidseg_common.synthetic_creatures import make_person, make_quadruped
from vidseg_common.synthetic_cutouts import make_cutout
from vidseg_common.synthetic_motion import STILL, CameraMotion, ObjectMotion, Passage, Signal
from vidseg_common.synthetic_render import SyntheticVideo, render
from vidseg_common.synthetic_scene import EffectsSpec, LayerSpec, ObjectSpec, Scene
from vidseg_common.synthetic_shapes import Body
from vidseg_common.synthetic_textures import TextureSpec
from vidseg_common.synthetic_writers import write_davis
from vidseg_common.video import VideoSink

SAMPLE_NAME = "crossing"
"""Name of the sample's video and sequence."""

FPS = 24.0
NUM_FRAMES = 40
HEIGHT, WIDTH = 480, 854


@dataclass(frozen=True)
class DemoSample:
    """Where the sample was written.

    Attributes:
        root: Folder with JPEGImages, Annotations and ImageSets (DAVIS 2017, split "val").
        name: Name of the sequence.
        video: The same frames as MP4.
        frames: Folder of the JPEG frames.
        annotations: Folder of the palette masks, all frames.
        object_ids: Ids in the masks; the last one enters late.
    """

    root: Path
    name: str
    video: Path
    frames: Path
    annotations: Path
    object_ids: tuple[int, ...]


def _motion(
    x: Signal, y: Signal, log_scale: Signal = STILL, passage: Passage | None = None
) -> ObjectMotion:
    """Return an upright movement without perspective."""
    return ObjectMotion(
        x=x,
        y=y,
        log_scale=log_scale,
        angle=Signal(0.0, 0.0, ((0.04, 1 / 36, 0.5),)),
        squeeze=STILL,
        squeeze_axis=0.0,
        tilt=(STILL, STILL),
        warp=0.015,
        warp_waves=((1.7, 1.1, 1 / 30, 0.4), (1.3, 1.9, 1 / 26, 2.0)),
        roll=(STILL, STILL),
        light=Signal(-2.2, 0.0, ((0.3, 1 / 90, 0.0),)),
        passage=passage,
        camera_share=0.0,
    )


def _layers() -> tuple[LayerSpec, ...]:
    """Return a brick wall and a meadow in front of it."""
    brick = ((0.20, 0.11, 0.09), (0.55, 0.30, 0.24), (0.85, 0.78, 0.70))
    meadow = ((0.08, 0.12, 0.04), (0.33, 0.43, 0.17), (0.78, 0.82, 0.52))
    wall = TextureSpec(
        "photo", photo="brick.png", center=(0.5, 0.2), extent=0.9, recolor=Recolor(palette=brick)
    )
    grass = TextureSpec("photo", photo="grass.png", extent=1.0, recolor=Recolor(palette=meadow))
    ground = LayerSpec(
        grass, cover="ground", share=0.45, noise=(0, 0.2, 0.3), slant=0.5, parallax=1.15, depth=-0.5
    )
    return LayerSpec(wall), ground


def _object(
    object_id: int,
    body: Body,
    textures: tuple[TextureSpec, ...],
    motion: ObjectMotion,
    area: float,
    depth: float,
) -> ObjectSpec:
    """Return an annotated object with soft daylight on it."""
    return ObjectSpec(
        object_id=object_id,
        class_name=body.kind,
        body=body,
        textures=textures,
        motion=motion,
        area=area,
        depth=depth,
        shading=0.15,
        rim=0.3,
        softness=0.0,
    )


def _objects() -> tuple[ObjectSpec, ...]:
    """Return a motorcycle, a tabby animal that crosses before it, and a late person."""
    machine, paint = make_cutout("motorcycle_left.png", flip=False, recolor=Recolor())
    ride = _motion(Signal(0.30, 0.0075), Signal(0.62), Signal(0.0, 0.002))
    fur = TextureSpec(
        "photo",
        photo="chelsea.png",
        center=(0.0, 0.95),
        extent=0.4,
        recolor=Recolor(saturation=1.2, contrast=1.1),
    )
    dark = dataclasses.replace(fur, center=(0.45, 0.0), extent=0.2)
    walk = _motion(Signal(0.80, -0.011), Signal(0.74, 0.0, ((0.006, 1 / 9, 0.0),)))
    cloth = TextureSpec(
        "photo", photo="astronaut.png", center=(0.35, 0.75), extent=0.3, recolor=Recolor(hue=3.4)
    )
    trousers = TextureSpec(
        "plain", noise=5, recolor=Recolor(palette=((0.12, 0.14, 0.25), (0.22, 0.25, 0.38)))
    )
    skin = TextureSpec(
        "plain", noise=4, recolor=Recolor(palette=((0.62, 0.42, 0.32), (0.78, 0.57, 0.45)))
    )
    late = Passage((-1.0, 0.0), 0.42, 8.0, 0.0175, entering=True)
    stroll = _motion(Signal(0.20, 0.003), Signal(0.60, 0.0, ((0.006, 1 / 8, 1.0),)), passage=late)
    animal, person = make_quadruped(np.random.default_rng(9)), make_person(np.random.default_rng(4))
    return (
        _object(1, machine, (paint,), ride, area=0.085, depth=0.2),
        _object(2, animal, (fur, dark, dark), walk, area=0.055, depth=0.6),
        _object(3, person, (cloth, trousers, skin), stroll, area=0.05, depth=0.4),
    )


def demo_scene() -> Scene:
    """Return the sample's scene: 40 frames of 480 x 854."""
    camera = CameraMotion(
        x=Signal(0.0, 0.0025),
        y=STILL,
        log_zoom=Signal(0.0, 0.001),
        angle=STILL,
        shake=(Signal(0.0, 0.0, ((0.0015, 1 / 7, 0.0),)), Signal(0.0, 0.0, ((0.001, 1 / 5, 1.0),))),
    )
    effects = EffectsSpec(
        shutter=0.3,
        background_blur=0.002,
        frame_blur=0.0,
        noise=2.5,
        light=(Signal(0.02), Signal(0.0), Signal(-0.03)),
        shadow=0.35,
        shadow_shift=(0.02, 0.05),
        jpeg_quality=None,
    )
    return Scene(7, SAMPLE_NAME, NUM_FRAMES, HEIGHT, WIDTH, camera, _layers(), _objects(), effects)


def make_demo_video() -> SyntheticVideo:
    """Paint the sample: frames, visible masks and amodal masks."""
    return render(demo_scene())


def make_demo_sample(folder: str | Path) -> DemoSample:
    """Write the sample as a DAVIS 2017 data set of one sequence and as an MP4.

    Args:
        folder: Where JPEGImages, Annotations, ImageSets and ``crossing.mp4`` go; files of an
            earlier run are replaced.

    Raises:
        OSError: A file cannot be written.
        VideoError: The MP4 cannot be encoded.
    """
    root = Path(folder)
    video = make_demo_video()
    write_davis([video], root, split="val")
    path = root / f"{SAMPLE_NAME}.mp4"
    with VideoSink(path, FPS) as sink:
        for frame in video.frames:
            sink.write(frame)
    return DemoSample(
        root=root,
        name=SAMPLE_NAME,
        video=path,
        frames=root / "JPEGImages" / "480p" / SAMPLE_NAME,
        annotations=root / "Annotations" / "480p" / SAMPLE_NAME,
        object_ids=video.object_ids,
    )
