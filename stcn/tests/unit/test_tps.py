import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stcn.data.tps import NUM_POINTS, draw_warp, evaluate_grid, fit_spline, make_warp, pick_points


def points(seed, scale=0.02):
    rng = np.random.RandomState(seed)
    c_src = pick_points(64, 64, rng)
    return c_src, c_src + rng.normal(scale=scale, size=c_src.shape)


@given(st.integers(0, 2**31))
def test_points_share_no_row_and_no_column(seed):
    picked = pick_points(40, 50, np.random.RandomState(seed))
    assert picked.shape == (NUM_POINTS, 2)
    assert all(len(set(column)) == NUM_POINTS for column in picked.T)
    assert picked.min() >= 0 and picked.max() < 1


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_spline_passes_through_its_values(seed):
    c_src, c_dst = points(seed)
    values = c_src - c_dst
    coefficients = fit_spline(c_dst, values).astype(np.float64)
    distance = np.linalg.norm(c_dst[:, None] - c_dst[None], axis=2)
    basis = distance**2 * np.log(distance + 1e-6)
    affine = np.concatenate([np.ones((len(c_dst), 1)), c_dst], axis=1)
    got = basis @ coefficients[:-3] + affine @ coefficients[-3:]
    np.testing.assert_allclose(got, values, atol=5e-4)
    assert abs(coefficients[:-3].sum(axis=0)).max() < 1e-4


def test_grid_equals_the_plain_sum():
    c_src, c_dst = points(3)
    coefficients = fit_spline(c_dst, c_src - c_dst)
    grid = evaluate_grid(c_dst, coefficients, 21, 33)
    for row, column in ((0, 0), (20, 32), (7, 19), (16, 0)):
        place = np.asarray([column / 32, row / 20])
        distance = np.linalg.norm(place - c_dst, axis=1)
        terms = (distance**2 * np.log(distance + 1e-6)) @ coefficients[:-3]
        affine = coefficients[-3] + place @ coefficients[-2:]
        np.testing.assert_allclose(grid[row, column], place + terms + affine, atol=1e-6)


def test_no_move_only_stretches_by_one_pixel():
    c_src, _ = points(5)
    warp = make_warp(c_src, c_src, 32, 48)
    np.testing.assert_allclose(warp.map_x[0], np.linspace(0, 48, 48), atol=1e-4)
    np.testing.assert_allclose(warp.map_y[:, 0], np.linspace(0, 32, 32), atol=1e-4)


def test_image_and_mask_move_together():
    mask = np.zeros((96, 96), dtype=np.uint8)
    mask[30:70, 20:60] = 255
    warp = draw_warp(96, 96, 0.02, np.random.RandomState(1))
    image = warp.image(np.repeat(mask[..., None], 3, axis=2))
    warped = warp.mask(mask)
    assert set(np.unique(warped)) <= {0, 255}
    assert np.mean((image[..., 0] > 127) != (warped > 127)) < 0.02
