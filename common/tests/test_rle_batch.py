import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidseg_common import rle
from vidseg_common.errors import MaskError
from vidseg_common.rle_batch import all_disjoint, any_overlap, canonical, check_masks


def is_malformed(mask):
    try:
        rle.counts_of(mask)
    except MaskError:
        return True
    return False


def random_mask(rng):
    """A mask that may be right, of any number of runs, or spoilt in one of several ways."""
    height, width = (int(v) for v in rng.integers(0, 40, 2))
    runs = rng.multinomial(height * width, rng.dirichlet(np.ones(rng.integers(1, 30))))
    text = rle.counts_to_string(runs.tolist())
    spoilt = rng.integers(0, 8)
    if spoilt == 0 and text:
        place = rng.integers(0, len(text))
        text = text[:place] + chr(rng.integers(33, 130)) + text[place + 1 :]
    elif spoilt == 1:
        text = text[: rng.integers(0, len(text) + 1)]
    elif spoilt == 2:
        text += str(rng.choice(["0", "1", "`", "oooooooo0", "\u00e9", "P" * 12 + "0"]))
    return {"size": [height, width], "counts": text}


@given(st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_finds_what_decoding_one_by_one_finds(seed):
    rng = np.random.default_rng(seed)
    masks = [random_mask(rng) for _ in range(rng.integers(0, 8))]
    check = check_masks(masks)
    assert check.malformed == [i for i, mask in enumerate(masks) if is_malformed(mask)]
    right = [i for i in range(len(masks)) if i not in check.malformed]
    assert check.uneven == [i for i in right if (rle.counts_of(masks[i])[1:] == 0).any()]
    cleaned = canonical([masks[i] for i in right])
    for i, mask in zip(right, cleaned, strict=True):
        assert (rle.decode(mask) == rle.decode(masks[i])).all()
        assert (mask == masks[i]) is (i not in check.uneven)
        assert rle.area(mask) == 0 or mask == rle.encode(rle.decode(mask))


def test_a_malformed_mask_is_named():
    with pytest.raises(MaskError, match="runs add up to 5 pixels"):
        canonical([{"size": [3, 3], "counts": "5"}])


def test_overlap():
    left, right = rle.encode([[1, 1, 0]]), rle.encode([[0, 0, 1]])
    whole, empty = rle.encode([[1, 1, 1]]), rle.encode([[0, 0, 0]])
    assert not any_overlap([]) and not any_overlap([whole]) and not any_overlap([empty, empty])
    assert not any_overlap([left, right, empty])
    assert any_overlap([left, right, whole])


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_disjoint_masks_are_those_of_no_pixel_in_common(seed):
    rng = np.random.default_rng(seed)
    height, width, num_groups = rng.integers(1, 9, 3)
    owners = rng.integers(0, rng.integers(1, 5), (num_groups, height, width))
    masks = [(group, owners[group] == value) for group in range(num_groups) for value in range(4)]
    if rng.random() < 0.7:
        group, mask = masks[rng.integers(len(masks))]
        masks.append((group, mask & (rng.random(mask.shape) < 0.3)))
    rng.shuffle(masks)
    covered = np.zeros(owners.shape, int)
    for group, mask in masks:
        covered[group] += mask
    strings = [rle.encode(mask)["counts"] for _, mask in masks]
    groups = np.array([group for group, _ in masks])
    assert all_disjoint(strings, height * width, groups) == (covered.max() <= 1)


@pytest.mark.parametrize("text", ["", "#", "P", "T4", "1020", "00000000" + "P", "é"])
def test_malformed_and_other_masks_are_not_taken_as_disjoint(text):
    good = rle.encode(np.ones((10, 10)))["counts"]
    assert all_disjoint([good, good], 100, np.arange(2))
    assert not all_disjoint([good, text], 100, np.arange(2))


def test_no_masks_are_disjoint():
    assert all_disjoint([], 100, np.zeros(0, int))
