"""Images and masks to tensors and back."""

import numpy as np
import pytest
import torch

from stcn.inference.preprocess import (
    MEAN,
    STD,
    inner_size,
    normalise,
    one_hot,
    resize_frame,
    resize_masks,
    resize_prob,
    to_index_map,
)


def test_normalise():
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    wanted = (image / 255 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(normalise(image).numpy().transpose(1, 2, 0), wanted, atol=1e-6)
    flipped = normalise(image[:, ::-1])
    torch.testing.assert_close(flipped, normalise(image).flip(2))


@pytest.mark.parametrize(
    ("size", "side", "wanted"),
    [
        ((480, 854), None, (480, 854)),
        ((480, 854), 480, (480, 854)),
        ((720, 1280), 480, (480, 853)),
        ((1280, 720), 480, (853, 480)),
        ((100, 100), 480, (480, 480)),
        ((37, 53), 24, (24, 34)),
    ],
)
def test_inner_size(size, side, wanted):
    assert inner_size(size, side) == wanted


def cubic_weight(x):
    """The cubic kernel with a = -0.75."""
    x, a = abs(x), -0.75
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


@pytest.mark.parametrize("target", [5, 23])
def test_frames_are_resized_by_four_pixels_without_antialiasing(target):
    row = torch.randn(12)
    got = resize_frame(row.expand(3, 12, 12), (12, target))[0, 0]
    for j in range(target):
        centre = (j + 0.5) * 12 / target - 0.5
        base = int(np.floor(centre))
        wanted = sum(
            cubic_weight(centre - i) * row[min(max(i, 0), 11)].item()
            for i in range(base - 1, base + 3)
        )
        assert got[j].item() == pytest.approx(wanted, abs=1e-4)


def test_masks_are_resized_by_the_floor_of_the_position():
    mask = np.arange(7 * 5).reshape(7, 5) % 3
    planes = resize_masks(one_hot(mask, [1, 2], "cpu"), (4, 9))
    rows = [int(i * 7 / 4) for i in range(4)]
    columns = [int(j * 5 / 9) for j in range(9)]
    wanted = mask[np.ix_(rows, columns)]
    assert np.array_equal(planes[0].numpy() > 0, wanted == 1)
    assert np.array_equal(planes[1].numpy() > 0, wanted == 2)


def test_sizes_that_fit_are_left_alone():
    x = torch.rand(2, 4, 5)
    for resize in (resize_frame, resize_masks, resize_prob):
        assert resize(x, (4, 5)) is x


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint16])
def test_one_hot_takes_any_integers(dtype):
    mask = np.array([[0, 7], [200, 7]], dtype=dtype)
    planes = one_hot(mask, [200, 7, 3], "cpu")
    assert planes.dtype == torch.float32
    assert planes.tolist() == [[[0, 0], [1, 0]], [[0, 1], [0, 1]], [[0, 0], [0, 0]]]


@pytest.mark.parametrize("num_objects", [1, 2])
def test_ties_go_to_the_lowest_channel(num_objects):
    prob = torch.full((num_objects + 1, 1, 2), 0.25)
    prob[1, 0, 1] = 0.5
    prob[-1, 0, 1] = 0.5
    assert to_index_map(prob, [9, 4][:num_objects]).tolist() == [[0, 9]]


@pytest.mark.parametrize(
    ("ids", "dtype"), [((), np.uint8), ((255,), np.uint8), ((3, 256), np.int32)]
)
def test_type_of_the_index_map(ids, dtype):
    prob = torch.eye(len(ids) + 1)[:, None]
    got = to_index_map(prob, ids)
    assert got.dtype == dtype
    assert got.tolist() == [[0, *ids]]


@pytest.mark.parametrize("num_objects", [255, 256, 300])
def test_very_many_objects(num_objects):
    ids = list(range(1, num_objects + 1))
    assert to_index_map(torch.eye(num_objects + 1)[:, None], ids).tolist() == [[0, *ids]]
