import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vatrack.inference.paste import encode_region, paste, soft_region
from vidseg_common import rle

HEIGHT, WIDTH = 30, 40


def whole_picture(prob, box):
    """The definition: every pixel of the frame is sampled."""
    y, x = torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5
    across = (x - box[0]) / (box[2] - box[0]) * 2 - 1
    down = (y - box[1]) / (box[3] - box[1]) * 2 - 1
    grid = torch.stack(torch.meshgrid(down, across, indexing="ij")[::-1], -1)
    values = F.grid_sample(torch.from_numpy(prob)[None, None], grid[None], align_corners=False)
    return values[0, 0].numpy()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.tuples(st.floats(-20, 39, width=32), st.floats(-20, 29, width=32)),
    st.tuples(st.floats(0.5, 70, width=32), st.floats(0.5, 60, width=32)),
)
def test_equal_to_the_whole_picture(seed, corner, sides):
    prob = np.random.default_rng(seed).random((28, 28), np.float32)
    box = np.array([*corner, corner[0] + sides[0], corner[1] + sides[1]], np.float32)
    wanted = whole_picture(prob, torch.from_numpy(box))
    values, left, top = soft_region(prob, box, (HEIGHT, WIDTH))
    inside = wanted[top : top + values.shape[1], left : left + values.shape[0]]
    np.testing.assert_allclose(values.T, inside, atol=1e-4)
    (mask,) = paste(prob[None], box[None], (HEIGHT, WIDTH))
    differs = rle.decode(mask) != (wanted >= 0.5)
    assert (np.abs(wanted[differs] - 0.5) < 1e-4).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9), st.integers(0, 8))
def test_runs_of_a_region_are_those_of_the_frame(seed, height, width, top):
    generator = np.random.default_rng(seed)
    frame = np.zeros((9, 12), bool)
    top = min(top, 9 - height)
    left = int(generator.integers(0, 12 - width + 1))
    part = generator.random((height, width)) < generator.choice([0, 0.5, 0.9, 1])
    frame[top : top + height, left : left + width] = part
    assert encode_region(part.T, left, top, (9, 12)) == rle.encode(frame)


def test_boxes_that_show_nothing_give_empty_masks():
    prob = np.ones((3, 28, 28), np.float32)
    far, none, odd = [100, 100, 120, 130], [-50, -50, -20, -20], [np.nan, 0, 5, 5]
    masks = paste(prob, np.array([far, none, odd], np.float32), (HEIGHT, WIDTH))
    assert [rle.area(mask) for mask in masks] == [0, 0, 0]
    assert paste(prob[:0], np.zeros((0, 4), np.float32), (HEIGHT, WIDTH)) == []
