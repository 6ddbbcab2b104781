"""The two synthetic clips that small networks learn by heart, the same for every method."""

from __future__ import annotations

from collections.abc import Sequence

from vidseg_common.synthetic import SceneOptions, generate_video
from vidseg_common.synthetic_render import SyntheticVideo

#: Objects that stay in sight and have no thin parts, nothing that resembles or hides them.
_CALM = SceneOptions(
    min_area=0.1,
    max_area=0.2,
    late_entry=0,
    leave=0,
    articulated=0,
    distractors=0,
    similar=0,
    occluders=0,
    motion_blur=0,
    defocus=0,
)
#: Seed and number of objects of the clips.
CLIPS = ((4, 1), (5, 2))
#: Others, in each of which an object hides up to two thirds of another one.
OCCLUDED = ((14, 2), (18, 2))
_NUM_FRAMES, _HEIGHT, _WIDTH = 16, 96, 144


def make_clips(clips: Sequence[tuple[int, int]] = CLIPS) -> list[SyntheticVideo]:
    """The clips, which are the same on every machine."""
    return [generate_video(seed, _NUM_FRAMES, _HEIGHT, _WIDTH, n, _CALM) for seed, n in clips]


def describe_clips(clips: Sequence[tuple[int, int]] = CLIPS) -> list[dict[str, int]]:
    """Seed, objects and frames of each clip, for a record."""
    return [{"seed": seed, "objects": n, "frames": _NUM_FRAMES} for seed, n in clips]
