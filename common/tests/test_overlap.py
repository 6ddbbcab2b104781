import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vidseg_common import rle
from vidseg_common.datasets.overlap import has_overlap, masks_of, paint, separate
from vidseg_common.errors import MaskError

STACKS = hnp.arrays(
    bool, st.tuples(st.integers(0, 5), st.integers(1, 7), st.integers(1, 9)), elements=st.booleans()
)
SCORES = st.lists(st.none() | st.sampled_from([0.1, 0.5, 0.9]), min_size=5, max_size=5)


def slow_paint(stack, ids, scores):
    """Every pixel asks all masks that claim it for the best one."""
    joined = np.zeros(stack.shape[1:], int)
    taken = 0
    for y, x in np.ndindex(*joined.shape):
        claims = [k for k in range(len(stack)) if stack[k, y, x]]
        taken += max(len(claims) - 1, 0)
        scored = [k for k in claims if scores[k] is not None]
        if scored:
            best = max(scores[k] for k in scored)
            joined[y, x] = ids[next(k for k in scored if scores[k] == best)]
        elif claims:
            joined[y, x] = ids[claims[-1]]
    return joined, taken


@given(STACKS, SCORES)
@settings(max_examples=150, deadline=None)
def test_paint_separate_and_has_overlap_against_a_slow_form(stack, scores):
    scores = scores[: len(stack)]
    ids = [1000 + 7 * k for k in range(len(stack))]
    masks = [rle.encode(mask) if mask.any() else None for mask in stack]
    want, want_taken = slow_paint(stack, ids, scores)
    got, taken = paint(masks, ids, scores, stack.shape[1:])
    assert (got == want).all()
    assert taken == want_taken
    assert has_overlap(masks) == (want_taken > 0)
    apart, taken = separate(masks, scores)
    assert taken == want_taken
    for k, mask in enumerate(apart):
        rest = want == ids[k]
        assert (mask is None) if not rest.any() else mask == rle.encode(rest)


@given(hnp.arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)),
                  elements=st.sampled_from([0, 1, 255, 1001, 10000])))  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_masks_of_an_id_map(ids):
    masks = masks_of(ids)
    assert list(masks) == [int(i) for i in np.unique(ids) if i]
    assert all(masks[i] == rle.encode(ids == i) for i in masks)
    back, taken = paint(list(masks.values()), list(masks), [None] * len(masks), ids.shape)
    assert (back == ids).all()
    assert taken == 0


def test_masks_that_do_not_overlap_keep_their_strings():
    left = {"size": [2, 2], "counts": "0200"}  # runs 0 2 0 0 2: not the shortest form
    left["counts"] = rle.counts_to_string([0, 1, 0, 1, 2])
    right = rle.encode([[0, 1], [0, 1]])
    masks, taken = separate([left, None, right], [None, None, None])
    assert masks == [left, None, right]
    assert masks[0] is left
    assert taken == 0


def test_an_empty_map_and_empty_masks():
    assert masks_of(np.zeros((3, 4), np.uint8)) == {}
    assert masks_of(np.zeros((0, 4), np.uint8)) == {}
    assert has_overlap([]) is False
    empty = rle.encode(np.zeros((3, 4), bool))
    full = rle.encode(np.ones((3, 4), bool))
    assert not has_overlap([empty, full, empty])
    assert separate([full, full], [0.2, 0.1]) == ([full, None], 12)
    assert separate([full, full], [None, None]) == ([None, full], 12)


def test_sizes_must_agree():
    small, large = rle.encode(np.ones((2, 2))), rle.encode(np.ones((2, 3)))
    with pytest.raises(MaskError, match="different sizes"):
        has_overlap([small, large])
    with pytest.raises(MaskError, match=r"\(2, 3\) in a frame of size \(2, 2\)"):
        paint([large], [1], [None], (2, 2))
