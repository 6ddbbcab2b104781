"""Procedural videos with exact ground truth, from photographs that installed packages carry.

``make_scene`` draws a description from a seed, ``render`` paints any of its frames with visible
and amodal masks, and ``synthetic_writers`` puts videos into the layouts of data sets:

    scene = make_scene(seed=1, num_frames=40, height=480, width=854)
    video = render(scene, frame_indices=[0, 5, 10])

As a command it writes a data set: ``python -m vidseg_common.synthetic --out DIR``.
"""

from __future__ import annotations

from vidseg_common.synthetic_bodies import CLASS_NAMES
from vidseg_common.synthetic_render import Renderer, SyntheticVideo, render
from vidseg_common.synthetic_sampling import make_scene
from vidseg_common.synthetic_scene import Scene, SceneOptions

__all__ = [
    "CLASS_NAMES",
    "Renderer",
    "Scene",
    "SceneOptions",
    "SyntheticVideo",
    "generate_video",
    "make_scene",
    "render",
]


def generate_video(
    seed: int,
    num_frames: int = 40,
    height: int = 480,
    width: int = 854,
    num_objects: int | None = None,
    options: SceneOptions | None = None,
) -> SyntheticVideo:
    """Draw a scene and paint all of its frames; arguments and errors as in ``make_scene``."""
    return render(make_scene(seed, num_frames, height, width, num_objects, options))


if __name__ == "__main__":
    from vidseg_common.errors import run_cli
    from vidseg_common.synthetic_cli import main

    run_cli(main)
