import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vidseg_common import rle
from vidseg_common.errors import MaskError

any_mask = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


def test_boxes_are_n_by_4():
    with pytest.raises(MaskError, match=r"\(N, 4\)"):
        rle.from_boxes([1, 2, 3, 4], 5, 5)


@given(mask=any_mask)
@settings(deadline=None)
def test_there_and_back(mask):
    encoded = rle.encode(mask)
    assert (rle.decode(encoded) == mask).all()
    counts = rle.string_to_counts(encoded["counts"])
    assert counts.sum() == mask.size
    assert rle.counts_to_string(counts) == encoded["counts"]
    assert rle.area(encoded) == mask.sum()
    assert json.loads(json.dumps(encoded)) == encoded


@given(counts=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=60))
@settings(deadline=None)
def test_string_holds_any_counts(counts):
    assert rle.string_to_counts(rle.counts_to_string(counts)).tolist() == counts


@given(counts=st.lists(st.integers(0, 2**24 - 1), max_size=60))
@settings(deadline=None)
def test_our_string_is_that_of_the_library(counts):
    runs = np.array(counts, np.int64)
    assert rle._written(runs) == rle.counts_to_string(runs)


def string_by_the_rule(counts):
    """The string as spec common section 2 puts it, number by number."""
    text = ""
    for i, count in enumerate(counts):
        x, more = count - counts[i - 2] if i > 2 else count, True
        while more:
            bits, x = x & 31, x >> 5
            more = x != -1 if bits & 16 else x != 0
            text += chr(48 + (bits | 32 if more else bits))
    return text


@pytest.mark.parametrize("power", [24, 28, 29, 31, 32])
@pytest.mark.parametrize("before", [[], [0], [0, 5], [3, 2**23, 7]])
def test_long_runs(power, before):
    """The library writes beyond its buffer here: 6 characters are reserved for each run."""
    counts = [*before, 2**power - 1, 2**24, 2**power - 1, 1]
    assert rle.counts_to_string(counts) == string_by_the_rule(counts)
    empty = {"size": [1 << 14, 1 << 14], "counts": [1 << 28]}
    text = rle.counts_to_string(empty["counts"])
    assert text == string_by_the_rule(empty["counts"])
    assert rle.area({**empty, "counts": text}) == rle.area(empty) == 0


@given(first=any_mask, data=st.data())
@settings(max_examples=50, deadline=None)
def test_iou_and_merge_agree_with_pixels(first, data):
    second = data.draw(hnp.arrays(np.bool_, first.shape))
    a, b = rle.encode(first), rle.encode(second)
    both, either = (first & second).sum(), (first | second).sum()
    assert rle.iou([a], [b])[0, 0] == (both / either if both else 0.0)
    assert (rle.decode(rle.merge([a, b])) == (first | second)).all()
    assert (rle.decode(rle.merge([a, b], intersect=True)) == (first & second)).all()


def test_zero_runs_inside_are_read_and_written_canonically():
    odd = {"size": [2, 3], "counts": [1, 0, 1, 2, 0, 1, 1]}
    mask = rle.decode(odd)
    assert mask.T.reshape(-1).tolist() == [False, False, True, True, True, False]
    assert rle.area(odd) == 3
    assert rle.merge([odd]) == rle.encode(mask)
    assert rle.iou([odd], [rle.encode(mask)])[0, 0] == 1.0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"size": [3, 3], "counts": "5"}, "5 pixels.* has 9"),
        ({"size": [3, 3], "counts": [5, 5]}, "10 pixels.* has 9"),
        ({"size": [3, 3], "counts": [10, -1]}, "9"),
        ({"size": [3, 3], "counts": "9 "}, "outside '0'..'o'"),
        ({"size": [3, 3], "counts": "9é"}, "outside '0'..'o'"),
        ({"size": [3, 3], "counts": "P"}, "cut off"),
        ({"size": [3, 3], "counts": "PPPPPPPP1"}, "too large"),
        ({"size": [3, 3], "counts": ""}, "0 pixels"),
        ({"size": [3, 3], "counts": 9}, "string or a list"),
        ({"size": [3], "counts": [9]}, "size"),
        ({"counts": [9]}, "size"),
        ({"size": [-3, -3], "counts": [9]}, "negative"),
    ],
)
def test_malformed_input_is_refused(bad, message):
    for function in (rle.decode, rle.area, rle.to_bbox):
        with pytest.raises(MaskError, match=message):
            function(bad)
    with pytest.raises(MaskError, match=message):
        rle.iou([bad], [bad])


def test_different_sizes_are_refused():
    small, large = rle.encode(np.ones((2, 2))), rle.encode(np.ones((4, 1)))
    with pytest.raises(MaskError, match="different sizes"):
        rle.iou([small], [large])
    with pytest.raises(MaskError, match="different sizes"):
        rle.merge([small, large])
    with pytest.raises(MaskError, match="cannot be merged"):
        rle.merge([small], size=(4, 1))


def test_nothing_to_merge_or_compare():
    with pytest.raises(MaskError, match="nothing to merge"):
        rle.merge([])
    assert not rle.decode(rle.merge([], size=(3, 4))).any()
    assert rle.iou([], [rle.encode(np.ones((2, 2)))]).shape == (0, 1)
    with pytest.raises(MaskError, match="crowd flags"):
        rle.iou([rle.encode(np.ones((2, 2)))], [], [True])


@pytest.mark.parametrize("polygons", [[], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]]])
def test_what_is_no_polygon_is_refused(polygons):
    with pytest.raises(MaskError, match="polygon"):
        rle.from_polygons(polygons, 10, 10)


def test_encode_wants_two_dimensions():
    with pytest.raises(MaskError, match="two dimensions"):
        rle.encode(np.zeros((2, 2, 2)))
    assert rle.encode(np.full((2, 2), 7)) == rle.encode(np.ones((2, 2), bool))


@pytest.mark.parametrize("counts", [[3, -1], [1 << 32], np.array([-5])])
def test_runs_that_no_string_can_hold(counts):
    with pytest.raises(MaskError, match="RLE runs lie in"):
        rle.counts_to_string(counts)
