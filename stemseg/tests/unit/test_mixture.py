import random

import pytest

from stemseg.data.mixture import Mixture, items_of_share, shares
from stemseg.data.samples import ClipSet, SampleKey
from vidseg_common.errors import ConfigError


class Numbers(ClipSet):
    """Samples that are their index and a draw."""

    def __init__(self, name, length):
        self.name, self.length, self.category_names = name, length, {1: name}

    def __len__(self):
        return self.length

    def sample(self, index, rng):
        return self.name, index, rng.random()


def test_difference_of_rounding_goes_to_the_largest_share():
    assert shares([0.3, 0.1, 0.6], 320000) == [96000, 32000, 192000]
    assert shares([0.25, 0.25, 0.5], 10) == [2, 2, 6]
    assert shares([1 / 3, 1 / 3, 1 / 3], 10) == [4, 3, 3]
    assert shares([0.5, 0.5], 3) == [1, 2]


@pytest.mark.parametrize("weights", [[0.5, 0.4], [1.2, -0.2], [0.0, 0.0]])
def test_weights_have_to_sum_to_one(weights):
    with pytest.raises(ConfigError, match="have to sum to 1"):
        shares(weights, 10)


@pytest.mark.parametrize(("length", "count"), [(4, 10), (3, 3), (7, 100), (1, 5), (10, 3)])
def test_items_are_used_evenly(length, count):
    items = items_of_share(length, count)
    assert len(items) == count
    used = [items.count(i) for i in range(length)]
    assert max(used) - min(used) <= 1


def test_long_data_set_gives_a_random_subset():
    items = items_of_share(1000, 10)
    assert len(set(items)) == 10
    assert max(items) > 500
    assert items == items_of_share(1000, 10)


def test_parts_follow_each_other():
    mixture = Mixture([(Numbers("a", 2), 3), (Numbers("b", 5), 0), (Numbers("c", 2), 2)])
    assert len(mixture) == 5
    assert [mixture.locate(i) for i in range(5)] == [(0, 0), (0, 1), (0, 0), (1, 0), (1, 1)]
    assert mixture.sample(4, random.Random(0))[:2] == ("c", 1)
    assert mixture[SampleKey(4, 9)] == mixture[SampleKey(4, 9)] != mixture[SampleKey(4, 8)]
    with pytest.raises(IndexError):
        mixture.locate(5)


def test_empty_mixture():
    with pytest.raises(ConfigError, match="empty"):
        Mixture([(Numbers("a", 2), 0)])
