import pytest

from stmask.feed import Shares, epoch_length, make_shares
from vidseg_common.errors import ConfigError
from vidseg_common.training_feed import KeySampler


def keys(shares, start, stop, num_items=11, pass_length=None):
    sampler = KeySampler(num_items, shares, 0, start, stop, pass_length)
    return [key for part in sampler for key in part]


def test_shares_are_equal_unless_told():
    assert make_shares(8).sizes == (8,)
    assert make_shares(8, world_size=4, rank=1) == Shares((2, 2, 2, 2), 1, 4)
    assert make_shares(8, (3, 5)).interval == 2
    assert make_shares(8, (3, 5), world_size=2, rank=1).interval == 1


@pytest.mark.parametrize(
    ("batch", "alloc", "processes", "message"),
    [
        (8, None, 3, "--batch_size 8 cannot be shared evenly by 3 processes"),
        (8, (3, 4), 1, "--batch_alloc 3,4: expected positive numbers with the sum 8"),
        (8, (8, 0), 1, "--batch_alloc 8,0: expected positive"),
        (8, (3, 3, 2), 2, "one number, or equally many, for each of 2 processes"),
    ],
)
def test_shares_that_cannot_be(batch, alloc, processes, message):
    with pytest.raises(ConfigError, match=message):
        make_shares(batch, alloc, world_size=processes)


def test_uneven_shares_over_processes_are_those_of_one():
    alone = keys(make_shares(5, (2, 3)), 0, 4)
    parts = [keys(make_shares(5, (2, 3), rank=r, world_size=2), 0, 4) for r in (0, 1)]
    joined = []
    for step in range(4):
        joined += parts[0][2 * step : 2 * step + 2] + parts[1][3 * step : 3 * step + 3]
    assert joined == alone


def test_rest_of_an_epoch_is_left_out():
    assert epoch_length(11, 4) == 2
    order = keys(make_shares(4), 0, 4, pass_length=8)
    first, second = ([key.item for key in part] for part in (order[:8], order[8:]))
    assert len(set(first)) == len(set(second)) == 8
    assert first != second
    assert keys(make_shares(4), 3, 4, pass_length=8) == order[12:]
    with pytest.raises(ConfigError, match="less than one batch"):
        epoch_length(3, 4)
