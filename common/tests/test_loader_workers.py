import os
import random
import signal

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from vidseg_common.errors import DatasetError, UserError
from vidseg_common.loader_workers import CollateValues, ErrorsAsValues, WorkerInit


class Draws(Dataset):
    """Items that tell the state of their process; -1 cannot be read."""

    def __getitem__(self, index):
        if index == -1:
            raise DatasetError("item -1 cannot be read")
        if index == -2:
            raise RuntimeError("a fault of ours")
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        return np.random.random(), random.random()  # noqa: NPY002


def batches(keys, rank=0, num_workers=2):
    return DataLoader(
        ErrorsAsValues(Draws()),
        sampler=keys,
        batch_size=1,
        num_workers=num_workers,
        collate_fn=CollateValues(list),
        worker_init_fn=WorkerInit(rank),
        generator=torch.Generator().manual_seed(0),
    )


def test_workers_outlive_the_first_signals_and_draw_differently():
    draws = [batch[0] for rank in (0, 1) for batch in batches([0, 1], rank)]
    assert len({value for draw in draws for value in draw}) == 8


@pytest.mark.parametrize("num_workers", [0, 1])
def test_errors_of_users_arrive_as_they_are(num_workers):
    (value,) = batches([-1], num_workers=num_workers)
    assert isinstance(value, UserError)
    assert str(value) == "item -1 cannot be read"


def test_faults_are_raised():
    with pytest.raises(RuntimeError, match="a fault of ours"):
        list(batches([-2], num_workers=0))
