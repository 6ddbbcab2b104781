import pytest
import torch

from stemseg.data.samples import ClipSample, ClipSet
from stemseg.feed import BatchPlan, KeySampler, TrainingFeed
from vidseg_common.errors import ConfigError, DatasetError


class Numbers(ClipSet):
    """Samples that tell their item and draw."""

    name = "numbers"
    category_names = {1: "number"}  # noqa: RUF012

    def __init__(self, length, broken=None):
        self.length, self.broken = length, broken

    def __len__(self):
        return self.length

    def sample(self, index, rng):
        if index == self.broken:
            raise DatasetError(f"item {index} cannot be read")
        images = torch.full((2, 3, 4, 4), rng.random())
        masks = torch.ones(1, 2, 4, 4, dtype=torch.uint8)
        return ClipSample(images, masks, masks[0], torch.ones(1).long(), str(index))


def keys(plan, start, stop, num_items=12, seed=42):
    return [key for part in KeySampler(num_items, plan, seed, start, stop) for key in part]


def drawn(batches):
    return [(batch.names, batch.images[:, 0, 0, 0, 0].tolist()) for batch in batches]


def test_one_pass_visits_every_sample_once():
    found = keys(BatchPlan(2, 1), 0, 6)
    assert sorted(key.item for key in found) == list(range(12))
    assert len({key.seed for key in found}) == 12


def test_passes_differ_in_order_and_draws():
    first, second = keys(BatchPlan(2, 1), 0, 6), keys(BatchPlan(2, 1), 6, 12)
    assert [key.item for key in first] != [key.item for key in second]
    assert not {key.seed for key in first} & {key.seed for key in second}


def test_any_start_gives_the_same_samples():
    plan = BatchPlan(4, 2)
    assert keys(plan, 0, 7)[5 * 4 :] == keys(plan, 5, 7)


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_the_samples_of_a_step(world_size):
    alone = keys(BatchPlan(8, 1), 0, 3)
    ranks = [keys(BatchPlan(8, 2, rank, world_size), 0, 3) for rank in range(world_size)]
    share = 8 // world_size
    for step in range(3):
        together = [key for rank in ranks for key in rank[step * share : (step + 1) * share]]
        assert sorted(together) == sorted(alone[step * 8 : (step + 1) * 8])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_feed_gives_sub_batches_and_moves_no_generator(num_workers):
    feed = TrainingFeed(Numbers(8), BatchPlan(4, 2), num_workers=num_workers)
    before = torch.get_rng_state()
    batches = drawn(feed.batches(0, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert [len(names) for names, _ in batches] == [2, 2, 2, 2]
    assert drawn(feed.batches(1, 2)) == batches[2:]
    assert drawn(TrainingFeed(Numbers(8), BatchPlan(4, 2), num_workers=0).batches(0, 2)) == batches


@pytest.mark.parametrize("num_workers", [0, 1])
def test_unreadable_sample_is_the_users_error(num_workers):
    feed = TrainingFeed(Numbers(4, broken=2), BatchPlan(2, 1), num_workers=num_workers)
    with pytest.raises(DatasetError, match=r"^item 2 cannot be read$"):
        list(feed.batches(0, 2))


def test_empty_data_set():
    with pytest.raises(ConfigError, match="is empty"):
        TrainingFeed(Numbers(0), BatchPlan(2, 1))
