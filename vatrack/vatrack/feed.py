"""The order of pairs in a training: batches of one aspect, shared out over processes (spec 4.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from vatrack.losses.batch import PairSample, TrainingBatch, collate
from vidseg_common.errors import ConfigError
from vidseg_common.training_feed import TrainingFeed


@dataclass(frozen=True)
class Shares:
    """How a step is shared out: every process has equally many pairs.

    Attributes:
        samples: pairs of a process.
        rank: number of this process.
        world_size: number of processes.
    """

    samples: int
    rank: int = 0
    world_size: int = 1

    @property
    def batch_size(self) -> int:
        """Pairs of a step, over all processes."""
        return self.samples * self.world_size

    @property
    def interval(self) -> int:
        """Backward passes of a step."""
        return 1

    def places(self, iteration: int, part: int) -> range:
        """Places of this process in the order of all pairs."""
        first = iteration * self.batch_size + self.rank * self.samples
        return range(first, first + self.samples)


@dataclass(frozen=True)
class GroupOrder:
    """The order of a pass: whole batches of one group each, the batches mixed.

    A group that does not fill its last batch repeats some of its items, chosen at random.

    Attributes:
        groups: of every item; a wide and a tall image do not go into one batch.
        batch_size: items of a batch.
        seed: of all passes.
    """

    groups: NDArray[np.int64]
    batch_size: int
    seed: int

    def __len__(self) -> int:
        """Items of a pass."""
        counts = np.unique(self.groups, return_counts=True)[1]
        return int(sum(-(-counts // self.batch_size))) * self.batch_size

    def __call__(self, epoch: int) -> NDArray[np.int64]:
        """The items of a pass."""
        rng = np.random.default_rng([self.seed, epoch])
        batches = []
        for group in np.unique(self.groups):
            items = rng.permutation(np.flatnonzero(self.groups == group))
            missing = -len(items) % self.batch_size
            filled = np.concatenate([items, rng.choice(items, missing)])
            batches.append(filled.reshape(-1, self.batch_size))
        return rng.permutation(np.concatenate(batches)).reshape(-1)


def make_feed(
    dataset: Dataset[PairSample],
    groups: Sequence[int] | NDArray[np.int64],
    shares: Shares,
    *,
    num_workers: int,
    seed: int,
    pin_memory: bool = False,
) -> tuple[TrainingFeed[TrainingBatch], int]:
    """The batches of a training from any iteration on, and the iterations of a pass.

    Args:
        dataset: gives a pair by its `SampleKey`.
        groups: of every item.
        shares: pairs of each process.
        num_workers: loader processes.
        seed: of order and pairs.
        pin_memory: page-locked batches, for copying to a GPU.

    Raises:
        ConfigError: the data set is empty.
    """
    if not len(groups):
        raise ConfigError("the data set of the training has no frame with an object")
    order = GroupOrder(np.asarray(groups, np.int64), shares.batch_size, seed)
    feed = TrainingFeed(
        dataset,
        shares,
        collate,
        num_workers=num_workers,
        seed=seed,
        pin_memory=pin_memory,
        pass_length=len(order),
        order=order,
    )
    return feed, len(order) // shares.batch_size
