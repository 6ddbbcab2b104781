import numpy as np
import pytest
import torch

from stcn.data.loader import KeySampler, LoaderOptions, TrainingLoader, iterations_per_epoch
from stcn.data.samples import TrainingSet
from vidseg_common.errors import ConfigError, DatasetError


class Numbers(TrainingSet):
    """Samples that tell their key."""

    def __init__(self, length, broken=None):
        self.length = length
        self.broken = broken

    def __len__(self):
        return self.length

    def sample(self, index, rng, max_jump):
        if index == self.broken:
            raise DatasetError(f"item {index} cannot be read")
        return {
            "item": index,
            "draw": torch.tensor(rng.rand()),
            "jump": max_jump,
            "info": {"name": str(index), "frames": ["a", "b", "c"]},
        }


def drawn(batches):
    return [(b["item"].tolist(), b["draw"].tolist(), b["jump"].tolist()) for b in batches]


def test_an_epoch_visits_every_item_once():
    keys = [key for batch in KeySampler(12, LoaderOptions(4), 0, 3) for key in batch]
    assert sorted(key.item for key in keys) == list(range(12))
    assert len({key.seed for key in keys}) == 12


def test_epochs_differ_in_order_and_seeds():
    first, second = ([*KeySampler(12, LoaderOptions(4), s, s + 3)] for s in (0, 3))
    assert first != second


def test_incomplete_batch_is_dropped():
    assert iterations_per_epoch(11, LoaderOptions(4)) == 2
    assert len(KeySampler(11, LoaderOptions(4), 3, 10)) == 7


def test_ranks_share_the_items():
    options = [LoaderOptions(2, rank=rank, world_size=3) for rank in range(3)]
    keys = [[k for batch in KeySampler(12, o, 0, 2) for k in batch] for o in options]
    assert sorted(key.item for rank in keys for key in rank) == list(range(12))
    assert len({key.seed for rank in keys for key in rank}) == 12


def test_ranks_have_equally_many_batches():
    for num_items in (10, 11, 12):
        lengths = {
            iterations_per_epoch(num_items, LoaderOptions(2, rank=rank, world_size=3))
            for rank in range(3)
        }
        assert lengths == {2}


def test_more_ranks_than_items():
    options = LoaderOptions(1, rank=4, world_size=5)
    assert len([*KeySampler(2, options, 0, 1)]) == 1


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resuming_in_the_middle_of_an_epoch(num_workers):
    options = LoaderOptions(2, num_workers=num_workers)
    whole = drawn(TrainingLoader(Numbers(9), LoaderOptions(2, num_workers=0)).batches(0, 11))
    resumed = drawn(TrainingLoader(Numbers(9), options).batches(6, 11))
    assert resumed == whole[6:]


def test_jump_follows_the_epoch():
    loader = TrainingLoader(
        Numbers(4), LoaderOptions(2, num_workers=0), jump_of_epoch=lambda epoch: 10 * epoch
    )
    jumps = [jump for _, _, jump in drawn(loader.batches(1, 5))]
    assert jumps == [[0, 0], [10, 10], [10, 10], [20, 20]]


def test_global_random_state_is_left_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    [*TrainingLoader(Numbers(6), LoaderOptions(2, num_workers=0)).batches(0, 5)]
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_state_says_where_the_training_stands():
    loader = TrainingLoader(Numbers(9), LoaderOptions(2))
    state = loader.state(10)
    assert state == {"epoch": 2, "position": 2, "length": 4, "seed": 14159265}
    assert loader.changes(state) == []
    changes = TrainingLoader(Numbers(9), LoaderOptions(3, seed=1)).changes(state)
    assert changes == [
        "iterations per epoch: 4 before, 3 now",
        "data seed: 14159265 before, 1 now",
    ]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_file_stops_with_one_line(num_workers):
    loader = TrainingLoader(Numbers(4, broken=2), LoaderOptions(2, num_workers=num_workers))
    with pytest.raises(DatasetError, match=r"^item 2 cannot be read$"):
        [*loader.batches(0, 2)]


def test_names_travel_with_the_batch():
    loader = TrainingLoader(Numbers(4), LoaderOptions(2, num_workers=0))
    batch = next(loader.batches(0, 1))
    assert batch["info"]["name"] == [str(item) for item in batch["item"].tolist()]
    assert len(batch["info"]["frames"]) == 3


def test_too_few_items_are_refused():
    with pytest.raises(ConfigError, match="do not fill one batch of 8"):
        TrainingLoader(Numbers(3), LoaderOptions(8))
    with pytest.raises(ConfigError, match="batch size"):
        LoaderOptions(0)
    with pytest.raises(ConfigError, match="rank 2"):
        LoaderOptions(1, rank=2, world_size=2)
