"""Scenes and their rendering: determinism, exact masks, entries, sizes, bad input."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidseg_common.errors import ConfigError
from vidseg_common.synthetic import (
    CLASS_NAMES,
    Renderer,
    Scene,
    SceneOptions,
    SyntheticVideo,
    generate_video,
    make_scene,
    render,
)
from vidseg_common.synthetic_motion import Passage, Signal
from vidseg_common.synthetic_sampling import MAX_OBJECTS

PLAIN = SceneOptions(
    late_entry=0, leave=0, distractors=0, occluders=0, parallax=0, motion_blur=0, jpeg=0, noise=0
)
STILL = dataclasses.replace(PLAIN, speed=0, warp=0, articulated=0, illumination=0, shadow=0)


def same(a: SyntheticVideo, b: SyntheticVideo) -> bool:
    return (
        a.name == b.name
        and a.object_ids == b.object_ids
        and a.classes == b.classes
        and all(
            np.array_equal(getattr(a, key), getattr(b, key))
            for key in ("frames", "visible", "amodal")
        )
    )


@pytest.mark.parametrize("seed", range(6))
def test_same_seed_gives_the_same_arrays(seed: int) -> None:
    assert same(generate_video(seed, 3, 72, 96), generate_video(seed, 3, 72, 96))


def test_the_number_of_threads_does_not_matter() -> None:
    threads = cv2.getNumThreads()
    scenes = [make_scene(seed, 8, 200, 240) for seed in (21, 22, 23)]
    try:
        cv2.setNumThreads(1)
        single = [render(scene, [6]) for scene in scenes]
        cv2.setNumThreads(4)
        several = [render(scene, [6]) for scene in scenes]
    finally:
        cv2.setNumThreads(threads)
    assert all(same(a, b) for a, b in zip(single, several, strict=True))


def test_other_seeds_give_other_videos() -> None:
    videos = [generate_video(seed, 1, 64, 64) for seed in range(8)]
    assert len({video.name for video in videos}) == 8
    assert len({video.frames.tobytes() for video in videos}) == 8


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_subset_of_frames_equals_the_whole_video(seed: int) -> None:
    scene = make_scene(seed, 6, 80, 100)
    whole, part = render(scene), render(scene, [5, 2])
    assert part.frame_indices == (5, 2)
    assert np.array_equal(part.frames, whole.frames[[5, 2]])
    assert np.array_equal(part.visible, whole.visible[[5, 2]])
    assert np.array_equal(part.amodal, whole.amodal[:, [5, 2]])


def test_a_renderer_can_be_asked_again() -> None:
    renderer = Renderer(make_scene(4, 5, 64, 64))
    first = [renderer.frame(3)[0], renderer.frame(1)[0]]
    assert np.array_equal(first[0], renderer.frame(3)[0])
    assert np.array_equal(first[1], renderer.frame(1)[0])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**40),
    height=st.integers(16, 130),
    width=st.integers(16, 130),
    num_frames=st.integers(1, 4),
    num_objects=st.integers(1, 5) | st.none(),
)
def test_shapes_and_types(
    seed: int, height: int, width: int, num_frames: int, num_objects: int | None
) -> None:
    video = generate_video(seed, num_frames, height, width, num_objects)
    count = len(video.object_ids)
    assert count == num_objects or (num_objects is None and 1 <= count <= 3)
    assert video.frames.shape == (num_frames, height, width, 3)
    assert video.visible.shape == (num_frames, height, width)
    assert video.amodal.shape == (count, num_frames, height, width)
    assert (video.frames.dtype, video.visible.dtype) == (np.uint8, np.uint8)
    assert video.amodal.dtype == np.bool_
    assert video.object_ids == tuple(range(1, count + 1))
    assert len(video.classes) == count
    assert set(video.classes) <= set(CLASS_NAMES)


@pytest.mark.parametrize("seed", range(20))
def test_visible_masks_lie_within_amodal_masks(seed: int) -> None:
    video = generate_video(seed, 3, 96, 96)
    assert set(np.unique(video.visible)) <= {0, *video.object_ids}
    for i, object_id in enumerate(video.object_ids):
        assert not (video.visible == object_id)[~video.amodal[i]].any()


def alone(scene: Scene, index: int) -> np.ndarray:
    """The amodal masks (T, H, W) of one object rendered without the others."""
    spec = dataclasses.replace(scene.objects[index], object_id=1)
    # Textures depend on the place in the list, outlines do not.
    return render(dataclasses.replace(scene, objects=(spec,))).amodal[0]


@pytest.mark.parametrize("seed", range(12))
def test_visible_is_amodal_minus_what_is_in_front(seed: int) -> None:
    options = dataclasses.replace(PLAIN, distractors=1.5)
    scene = make_scene(seed, 2, 96, 120, 3, options)
    video = render(scene)
    order = sorted(range(len(scene.objects)), key=lambda i: scene.objects[i].depth)
    masks = [alone(scene, i) for i in range(len(scene.objects))]
    expected = np.zeros_like(video.visible)
    for i in order:
        expected[masks[i]] = scene.objects[i].object_id
    assert np.array_equal(video.visible, expected)
    for i in range(3):
        assert np.array_equal(video.amodal[i], masks[i])


def test_planes_in_front_hide_objects_but_not_their_amodal_masks() -> None:
    options = dataclasses.replace(PLAIN, occluders=1.0)
    hidden = 0
    for seed in range(12):
        scene = make_scene(seed, 1, 96, 96, 1, options)
        with_plane = render(scene)
        without = render(dataclasses.replace(scene, layers=scene.layers[:1]))
        assert np.array_equal(with_plane.amodal, without.amodal)
        assert not (with_plane.visible & ~without.visible).any()
        hidden += int((with_plane.visible != without.visible).any())
    assert hidden >= 3


def test_ignored_objects_have_no_id() -> None:
    options = dataclasses.replace(PLAIN, distractors=3.0)
    scene = make_scene(3, 1, 64, 64, 2, options)
    assert len(scene.objects) > 2
    assert [spec.object_id for spec in scene.objects[:2]] == [1, 2]
    assert {spec.object_id for spec in scene.objects[2:]} == {0}
    assert render(scene).visible.max() <= 2


def test_late_objects_come_in() -> None:
    options = dataclasses.replace(PLAIN, late_entry=1.0)
    seen_later = 0
    for seed in range(10):
        video = generate_video(seed, 30, 64, 64, 3, options)
        assert video.amodal[0, 0].any()
        assert not video.amodal[1:, 0].any()
        seen_later += int(video.amodal[1:].any(axis=(1, 2, 3)).sum())
    assert seen_later >= 18


def test_leaving_objects_go() -> None:
    options = dataclasses.replace(PLAIN, leave=1.0)
    gone = 0
    for seed in range(10):
        video = generate_video(seed, 60, 64, 64, 1, options)
        assert video.amodal[0, 0].any()
        gone += int(not video.amodal[0, -1].any())
    assert gone >= 6


def test_without_movement_all_frames_are_equal() -> None:
    video = generate_video(11, 4, 80, 80, 2, STILL)
    assert (video.frames == video.frames[:1]).all()
    assert (video.visible == video.visible[:1]).all()


def test_objects_keep_their_colours_when_nothing_is_added() -> None:
    scene = make_scene(11, 9, 96, 96, 1, dataclasses.replace(PLAIN, illumination=0))
    video = render(scene, [0, 8])
    means = [f[m == 1].mean(axis=0) for f, m in zip(video.frames, video.visible, strict=True)]
    assert np.abs(means[0] - means[1]).max() < 25


def test_the_area_is_near_the_wanted_one() -> None:
    options = dataclasses.replace(STILL, min_area=0.1, max_area=0.1)
    shares = [generate_video(s, 1, 128, 128, 1, options).amodal.mean() for s in range(20)]
    assert 0.06 < np.median(shares) < 0.12


def test_resolution_does_not_change_the_scene() -> None:
    options = dataclasses.replace(STILL, defocus=0)
    small = render(make_scene(8, 1, 96, 128, 2, options)).visible[0]
    large = render(make_scene(8, 1, 192, 256, 2, options)).visible[0]
    assert (small == large[::2, ::2]).mean() > 0.97


@pytest.mark.parametrize(
    ("seed", "num_frames", "height", "width", "num_objects", "word"),
    [
        (-1, 3, 64, 64, None, "seed"),
        (0, 0, 64, 64, None, "num_frames"),
        (0, 3, 8, 64, None, "height"),
        (0, 3, 64, 9999, None, "width"),
        (0, 3, 64, 64, 0, "num_objects"),
        (0, 3, 64, 64, MAX_OBJECTS + 1, "num_objects"),
    ],
)
def test_bad_arguments_are_named(
    seed: int, num_frames: int, height: int, width: int, num_objects: int | None, word: str
) -> None:
    with pytest.raises(ConfigError, match=word):
        make_scene(seed, num_frames, height, width, num_objects)


def test_bad_options_and_frames_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_area"):
        SceneOptions(min_area=0.5, max_area=0.1)
    with pytest.raises(ConfigError, match="speed"):
        SceneOptions(speed=-1)
    with pytest.raises(ConfigError, match="frame 3"):
        render(make_scene(0, 3, 64, 64), [3])


def test_many_objects() -> None:
    video = generate_video(0, 1, 96, 96, MAX_OBJECTS)
    assert video.object_ids == tuple(range(1, MAX_OBJECTS + 1))


def test_signal_starts_at_its_offset() -> None:
    signal = Signal(0.25, 0.01, ((0.5, 0.1, 1.3), (0.2, 0.03, 2.0)))
    assert signal.at(0.0) == pytest.approx(0.25)
    assert Signal(1.0, 0.5).at(4) == pytest.approx(3.0)


def test_passages_begin_and_end_where_they_should() -> None:
    entering = Passage((1.0, 0.0), 0.9, 4.0, 0.1, entering=True)
    assert entering.at(0) == entering.at(4) == (0.9, 0.0)
    assert entering.at(20) == (0.0, 0.0)
    leaving = Passage((0.0, -1.0), 0.9, 4.0, 0.1, entering=False)
    assert leaving.at(4) == (0.0, 0.0)
    assert leaving.at(20) == (0.0, -0.9)
