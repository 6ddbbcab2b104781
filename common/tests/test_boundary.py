import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vidseg_common.errors import MaskError
from vidseg_common.metrics.boundary import boundary_radius, jf_frame, pack_masks


def plain_jf(gt, pred):
    """J and F by full-frame arithmetic, written straight from the definition."""
    union = (gt | pred).sum()
    j = (gt & pred).sum() / union if union else 1.0
    radius = boundary_radius(gt.shape)
    steps = np.arange(-radius, radius + 1)
    disc = (steps[:, None] ** 2 + steps[None] ** 2 <= radius**2).astype(np.uint8)
    maps = []
    for mask in (gt, pred):
        padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
        edge = (padded[:-1, 1:] != mask) | (padded[1:, :-1] != mask) | (padded[1:, 1:] != mask)
        maps.append((edge, cv2.dilate(edge.astype(np.uint8), disc) > 0))
    (edge_g, near_g), (edge_p, near_p) = maps
    if not edge_g.any() or not edge_p.any():
        return j, float(edge_g.any() == edge_p.any())
    precision = (edge_p & near_g).sum() / edge_p.sum()
    recall = (edge_g & near_p).sum() / edge_g.sum()
    total = precision + recall
    return j, 2 * precision * recall / total if total else 0.0


def blob(data, shape):
    """A few random rectangles: objects with borders anywhere, also at the frame."""
    mask = np.zeros(shape, bool)
    for _ in range(data.draw(st.integers(0, 3))):
        top, left = (data.draw(st.integers(0, size - 1)) for size in shape)
        tall, wide = (data.draw(st.integers(1, size)) for size in shape)
        mask[top : top + tall, left : left + wide] ^= True
    return mask


@given(data=st.data(), height=st.integers(1, 300), width=st.integers(1, 300))
@settings(max_examples=80, deadline=None)
def test_cropped_bits_equal_full_frames(data, height, width):
    gt, pred = blob(data, (height, width)), blob(data, (height, width))
    assert jf_frame(gt, pred) == plain_jf(gt, pred)


@given(
    pair=hnp.arrays(np.bool_, st.tuples(st.just(2), st.integers(1, 70), st.integers(1, 140))),
)
@settings(max_examples=60, deadline=None)
def test_noise_equals_full_frames(pair):
    assert jf_frame(pair[0], pair[1]) == plain_jf(pair[0], pair[1])


@given(data=st.data(), radius=st.integers(1, 80))
@settings(max_examples=40, deadline=None)
def test_reach_is_the_disc(data, radius):
    shape = (data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90)))
    packed = pack_masks(np.stack([blob(data, shape), blob(data, shape)]), radius)
    steps = np.arange(-radius, radius + 1)
    disc = (steps[:, None] ** 2 + steps[None] ** 2 <= radius**2).astype(np.uint8)
    for words, edge_words in zip(packed.reach, packed.edge, strict=True):
        reach = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")
        edge = np.unpackbits(edge_words.view(np.uint8), axis=1, bitorder="little")
        assert (reach[:, : shape[1]] == cv2.dilate(edge[:, : shape[1]], disc)).all()


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_jf_is_symmetric_and_bounded(data):
    gt, pred = blob(data, (40, 50)), blob(data, (40, 50))
    j, f = jf_frame(gt, pred)
    assert (j, f) == jf_frame(pred, gt)
    assert 0 <= j <= 1
    assert 0 <= f <= 1
    assert jf_frame(gt, gt) == (1.0, 1.0)


def test_frames_of_different_shape_are_refused():
    with pytest.raises(MaskError, match="one shape"):
        jf_frame(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(MaskError, match="one shape"):
        jf_frame(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 2)))
