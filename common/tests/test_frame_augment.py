"""Random changes of single frames."""

import random

import cv2
import numpy as np
import pytest

from vidseg_common.frame_augment import (
    Affine,
    FrameAugmenter,
    MotionBlur,
    Photometric,
    Warp,
    add_brightness,
    blur_kernel,
    draw_corners,
    label_map,
    shift_color,
)

HEIGHT, WIDTH = 60, 80


@pytest.fixture
def image():
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (9, 9), 3)


def test_brightness_saturates():
    image = np.array([[[0, 100, 250]]], np.uint8)
    assert add_brightness(image, 40).tolist() == [[[40, 140, 255]]]
    assert add_brightness(image, -40).tolist() == [[[0, 60, 210]]]


def test_hue_turns_and_saturation_grows():
    # Taken for red, green, blue: a saturated red of hue 0.
    image = np.array([[[200, 100, 100]]], np.uint8)
    hue, saturation, value = cv2.cvtColor(shift_color(image, -5), cv2.COLOR_RGB2HSV)[0, 0]
    before = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[0, 0]
    assert abs(int(hue) - 177) <= 1  # int(-5 * 180 / 255) = -3, round the circle
    assert abs(int(before[1]) - 5 - int(saturation)) <= 1
    assert value == before[2]


def test_one_or_both_photometric_changes(image):
    kinds = set()
    for seed in range(60):
        changed = Photometric().apply(image, random.Random(seed)).astype(int) - image
        assert np.abs(changed).max() <= 80
        is_even = len(np.unique(changed[(image > 60) & (image < 190)])) == 1
        kinds.add(is_even)
    assert kinds == {True, False}


def test_translation_is_the_same_on_both_axes_or_not():
    rng = random.Random(0)
    still = Affine(rotation=0.0)
    for _ in range(20):
        across, down = still.draw(WIDTH, HEIGHT, rng)[:, 2]
        assert across / WIDTH == pytest.approx(down / HEIGHT)
        assert abs(across) <= 0.1 * WIDTH
    free = Affine(0.0, is_diagonal=False)
    across, down = free.draw(WIDTH, HEIGHT, rng)[:, 2]
    assert across / WIDTH != pytest.approx(down / HEIGHT)


def test_rotation_is_about_the_centre():
    matrix = Affine(12.0, translation=0.0).draw(WIDTH, HEIGHT, random.Random(1))
    center = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2, 1])
    np.testing.assert_allclose(matrix @ center, center[:2])
    assert abs(np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0]))) <= 12


def test_corners_move_inwards():
    rng = random.Random(0)
    draws = np.array([draw_corners(100, 50, 0.08, rng) for _ in range(400)])
    inwards = np.abs(draws - [[0, 0], [100, 0], [100, 50], [0, 50]]) / [100, 50]
    assert draws.min() >= 0
    assert draws[..., 0].max() <= 100
    assert draws[..., 1].max() <= 50
    # The mean of a folded normal distribution.
    assert inwards.mean() == pytest.approx(0.08 * np.sqrt(2 / np.pi), rel=0.05)


def test_perspective_zooms_in(image):
    corners = np.array([(20, 15), (60, 15), (60, 45), (20, 45)], np.float32)
    zoomed = Warp(corners, None, None).image(image)
    middle = cv2.resize(image[15:45, 20:60], (WIDTH, HEIGHT))
    assert zoomed.shape == image.shape
    assert np.abs(zoomed.astype(int) - middle).mean() < 4
    assert Warp(corners, None, None).labels(np.ones((HEIGHT, WIDTH), np.uint8)).all()


def test_labels_keep_their_values_beyond_eight_bits():
    labels = np.zeros((HEIGHT, WIDTH), np.uint16)
    labels[10:30, 10:30] = 300
    augmenter = FrameAugmenter(Photometric(), 0.08, Affine(12.0), MotionBlur(1.0))
    blank = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    _, (warped,) = augmenter.apply(blank, (labels,), random.Random(0))
    assert warped.dtype == np.uint16
    assert set(np.unique(warped)) == {0, 300}


def test_image_and_labels_move_together():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[20:40, 30:60] = 1
    picture = np.repeat(mask[..., None] * 200, 3, 2)
    augmenter = FrameAugmenter(Photometric(0, 0), 0.08, Affine(12.0))
    for seed in range(5):
        changed, (moved,) = augmenter.apply(picture, (mask,), random.Random(seed))
        assert ((changed[..., 0] > 100) != (moved > 0)).mean() < 0.02


@pytest.mark.parametrize("size", [5, 7, 9, 11])
@pytest.mark.parametrize("direction", [-1.0, 0.0, 1.0])
def test_blur_kernels(size, direction):
    for angle in (0, 33, 90, 250):
        kernel = blur_kernel(size, angle, direction)
        assert kernel.shape == (size, size)
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert kernel.min() >= 0
    line = blur_kernel(size, 0, direction)[:, size // 2]
    assert np.sign(line[0] - line[-1]).item() == pytest.approx(direction)


def test_blur_happens_as_often_as_said():
    rng = random.Random(0)
    drawn = [MotionBlur(0.25).draw(rng) for _ in range(800)]
    kernels = [kernel for kernel in drawn if kernel is not None]
    assert len(kernels) / 800 == pytest.approx(0.25, abs=0.05)
    assert {len(kernel) for kernel in kernels} == {9, 11}
    assert MotionBlur(0.0).draw(rng) is None


def test_later_instances_win():
    masks = [np.zeros((4, 4), np.uint8) for _ in range(2)]
    masks[0][:, :3] = masks[1][:, 2:] = 1
    labels = label_map(masks, (4, 4))
    assert labels[0].tolist() == [1, 1, 2, 2]
    assert not label_map([], (4, 4)).any()
