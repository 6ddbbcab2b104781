from __future__ import annotations

import numpy as np
import pytest
import torch

from stemseg.config import load_config, merge
from stemseg.inference.preprocess import (
    InputRule,
    frame_geometry,
    input_dims,
    prepare,
    preprocess,
    to_picture,
)

RULE = InputRule(32, 64, (103.0, 116.0, 123.0), (1.0, 2.0, 4.0))


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_sides_are_padded_to_multiples_of_32_with_zeros(frame):
    x, geometry = prepare(frame, RULE)
    assert (geometry.image, geometry.network, geometry.padded) == ((20, 30), (32, 48), (32, 64))
    assert x.shape == (3, 32, 64)
    assert not x[:, :, 48:].any()
    assert geometry.padding == (16, 0)


def test_mean_and_deviation_are_those_of_the_channel(frame):
    frame[:] = (10, 20, 30)
    x, _ = prepare(frame, RULE)
    expected = torch.tensor([10 - 103, (20 - 116) / 2, (30 - 123) / 4])
    torch.testing.assert_close(x[:, 5, 5], expected)


def test_channels_are_turned_after_normalising(frame):
    turned, _ = prepare(frame, InputRule(32, 64, RULE.mean, RULE.std, bgr=False))
    straight, _ = prepare(frame, RULE)
    assert torch.equal(turned, straight.flip(0))


def test_the_configuration_gives_the_same_as_its_rule(frame):
    cfg = merge(load_config("davis_2"), {"INPUT": {"MIN_DIM": 40, "MAX_DIM": 60}})
    expected, _ = prepare(frame, InputRule.from_config(cfg))
    assert torch.equal(preprocess(frame, cfg), expected)


def test_a_picture_comes_back(frame):
    x, geometry = prepare(frame, InputRule(20, 30, RULE.mean, RULE.std))
    assert geometry.network == (20, 30)
    # Values are truncated, so rounding may cost 1.
    difference = to_picture(x, RULE)[:20, :30].astype(int) - frame
    assert np.abs(difference).max() <= 1


def test_the_longer_side_limits_very_wide_frames():
    geometry = frame_geometry((100, 1000), InputRule(50, 200, RULE.mean, RULE.std))
    assert geometry.network == (20, 200)


def test_one_flag_scales_the_other_dimension():
    assert input_dims((736, 1248), None, None) == (736, 1248)
    assert input_dims((736, 1792), None, 1948) == (800, 1948)
    assert input_dims((736, 1248), 320, None) == (320, 543)
    assert input_dims((736, 1248), 320, 400) == (320, 400)
