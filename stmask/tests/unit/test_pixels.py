import numpy as np
import pytest

from stmask.pixels import (
    MEAN,
    STD,
    pad_mask,
    padded_size,
    place_boxes,
    resize_image,
    resize_mask,
    to_network,
)


def test_values_are_normalised_and_the_padding_is_the_mean_colour():
    image = np.random.default_rng(0).integers(0, 256, (5, 33, 3), dtype=np.uint8)
    made = to_network(image)
    assert made.shape == (3, 32, 64) and made.dtype == np.float32
    want = (image.astype(np.float64) - MEAN) / STD
    assert np.abs(made[:, :5, :33] - want.transpose(2, 0, 1)).max() < 1e-6
    assert not made[:, 5:].any() and not made[:, :, 33:].any()


@pytest.mark.parametrize(
    ("size", "divisor", "padded"),
    [((360, 640), 32, (384, 640)), ((1, 1), 32, (32, 32)), ((7, 9), 1, (7, 9))],
)
def test_padded_size(size, divisor, padded):
    assert padded_size(*size, divisor) == padded
    assert pad_mask(np.ones(size, np.uint8), divisor).shape == padded


def test_frames_are_stretched_to_the_size_of_the_network():
    image = np.zeros((90, 163, 3), np.uint8)
    assert resize_image(image).shape == (360, 640, 3)
    mask = np.zeros((2, 2), np.uint8)
    mask[0, 1] = 1
    assert np.array_equal(resize_mask(mask, (4, 4)), np.kron(mask, np.ones((2, 2), np.uint8)))


def test_boxes_follow_the_picture():
    boxes = np.array([[10, 20, 30, 40], [-5, -5, 400, 400]], np.float32)
    made = place_boxes(boxes, (320, 180), (640, 360))
    assert made[0] == pytest.approx([20 / 640, 40 / 384, 60 / 640, 80 / 384])
    # Outside of the frame is cut; the padding below is no part of it.
    assert made[1] == pytest.approx([0, 0, 1, 360 / 384])
    flipped = place_boxes(boxes, (320, 180), (640, 360), is_flipped=True)
    assert flipped[0] == pytest.approx([579 / 640, 40 / 384, 619 / 640, 80 / 384])
