import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stmask.data.augment import Cropping, Distortion, Expansion, make_changes
from stmask.data.frames import Frame
from vidseg_common.errors import ConfigError

HEIGHT, WIDTH = 40, 60


def frame(*boxes, seed=0):
    rng = np.random.default_rng(seed)
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    masks = []
    for x1, y1, x2, y2 in corners.astype(int):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[y1 : y2 + 1, x1 : x2 + 1] = 1
        masks.append(mask)
    numbers = np.arange(1, len(boxes) + 1)
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Frame(image, corners, numbers, 10 + numbers, tuple(masks))


def extent(mask):
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max(), rows.max()]


PAIR = [frame([5, 5, 20, 30], [30, 10, 55, 35]), frame([7, 5, 22, 30], [28, 12, 53, 37], seed=1)]
SEEDS = st.integers(0, 10**6)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_colours_change_alike_and_stay_in_range(seed):
    same = [PAIR[0], PAIR[0]]
    one, other = Distortion().apply(same, random.Random(seed))
    assert np.array_equal(one.image, other.image)
    assert one.image.dtype == np.uint8 and one.image.shape == PAIR[0].image.shape
    assert np.array_equal(one.boxes, PAIR[0].boxes)


def test_bright_values_do_not_wrap_around():
    white = frame()
    white.image[:] = 250
    change = Distortion(contrast_range=(1.4, 1.4), saturation_range=(1, 1), hue_delta=0)
    for seed in range(20):
        assert change.apply([white], random.Random(seed))[0].image.min() >= 210


def test_no_distortion_is_none():
    nothing = Distortion(0, (1, 1), (1, 1), 0)
    for seed in range(20):
        made = nothing.apply([PAIR[0]], random.Random(seed))[0].image
        assert np.array_equal(np.sort(made, axis=2), np.sort(PAIR[0].image, axis=2))


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_expansion_moves_both_frames_alike(seed):
    made = Expansion().apply(PAIR, random.Random(seed))
    assert made[0].size == made[1].size and made[0].size[0] >= WIDTH
    shifts = {tuple((m.boxes - f.boxes)[0, :2]) for m, f in zip(made, PAIR, strict=True)}
    assert len(shifts) == 1
    for new, old in zip(made, PAIR, strict=True):
        for box, mask, before in zip(new.boxes, new.masks, old.masks, strict=True):
            assert extent(mask) == box.astype(int).tolist() and mask.sum() == before.sum()


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_cropping_keeps_an_object_in_both_frames(seed):
    made = Cropping().apply(PAIR, random.Random(seed))
    assert made[0].size == made[1].size
    width, height = made[0].size
    for new in made:
        assert len(new.boxes) == len(new.labels) == len(new.ids) == len(new.masks) >= 1
        assert (new.boxes >= 0).all() and (new.boxes[:, 2:] <= (width, height)).all()
        for box, mask in zip(new.boxes, new.masks, strict=True):
            assert mask.shape == (height, width)
            assert np.abs(np.array(extent(mask)) - box).max() <= 1


def test_a_window_overlaps_every_object_by_the_share():
    change = Cropping(min_ious=(0.1,))
    for seed in range(60):
        made = change.apply(PAIR, random.Random(seed))[0]
        assert made.size[0] >= 0.3 * WIDTH - 1 and made.size[1] >= 0.3 * HEIGHT - 1


def test_changes_of_a_configuration():
    assert make_changes(None) == ()
    given = {"random_crop": {"min_ious": [0.5]}, "photo_metric_distortion": {}, "expand": None}
    assert make_changes(given) == (Distortion(), Expansion(), Cropping(min_ious=(0.5,)))
    with pytest.raises(ConfigError, match="expand"):
        make_changes({"expend": {}})
    with pytest.raises(ConfigError, match=r"extra_aug\.expand.*ratio_range"):
        make_changes({"expand": {"ratio_rnge": [1, 2]}})
