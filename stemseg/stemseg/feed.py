"""From a data set to the batches of a training, from any iteration on (spec sections 7.1, 7.2).

The order of samples depends on the seed alone, and every sample on its place in that order: a
training that resumes sees what it would have seen, and the number of processes does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from stemseg.data.collate import Batch, collate
from stemseg.data.samples import ClipSet, SampleKey
from vidseg_common.errors import ConfigError, UserError
from vidseg_common.loader_workers import CollateValues, ErrorsAsValues, WorkerInit

#: Seed of the published training.
DEFAULT_SEED = 42


@dataclass(frozen=True)
class BatchPlan:
    """How the clips of one step of the optimiser are shared out.

    Attributes:
        batch_size: clips of a step, over all processes.
        sub_batch: clips of one backward pass of one process.
        rank: number of this process.
        world_size: processes that share the step.
    """

    batch_size: int
    sub_batch: int
    rank: int = 0
    world_size: int = 1

    @property
    def interval(self) -> int:
        """Backward passes of a step, over which gradients are accumulated."""
        return self.batch_size // (self.sub_batch * self.world_size)

    def places(self, iteration: int, part: int) -> range:
        """Places in the order of all samples of one backward pass of this process."""
        first = iteration * self.batch_size + (part * self.world_size + self.rank) * self.sub_batch
        return range(first, first + self.sub_batch)


def plan_batches(training: Any, *, rank: int = 0, world_size: int = 1) -> BatchPlan:
    """The plan of a configuration.

    Args:
        training: configuration section TRAINING.
        rank: number of this process.
        world_size: number of processes.

    Raises:
        ConfigError: the clips of a step cannot be shared out evenly.
    """
    batch, most = training.BATCH_SIZE, training.MAX_SAMPLES_PER_GPU
    if batch < world_size or batch % world_size:
        raise ConfigError(
            f"TRAINING.BATCH_SIZE {batch} cannot be shared by {world_size} processes; use a "
            "multiple of their number"
        )
    sub_batch = most
    if not training.ACCUMULATE_GRADIENTS:
        sub_batch = batch // world_size
        if sub_batch > most:
            raise ConfigError(
                f"TRAINING.BATCH_SIZE {batch} on {world_size} process(es) is more than "
                f"TRAINING.MAX_SAMPLES_PER_GPU {most}; set TRAINING.ACCUMULATE_GRADIENTS"
            )
    if batch % (sub_batch * world_size):
        raise ConfigError(
            f"TRAINING.BATCH_SIZE {batch} must be a multiple of TRAINING.MAX_SAMPLES_PER_GPU "
            f"{most} times {world_size} process(es)"
        )
    return BatchPlan(batch, sub_batch, rank, world_size)


class KeySampler(Sampler[list[SampleKey]]):
    """The keys of the backward passes from one iteration to another.

    Every pass over the data visits it in another order.

    Args:
        num_items: length of the data set.
        plan: who gets what.
        seed: of order and samples.
        start: first iteration.
        stop: iteration before which to end.
    """

    def __init__(self, num_items: int, plan: BatchPlan, seed: int, start: int, stop: int) -> None:
        self.num_items, self.plan, self.seed = num_items, plan, seed
        self.start, self.stop = start, stop
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def __len__(self) -> int:
        """Number of backward passes."""
        return max(self.stop - self.start, 0) * self.plan.interval

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Yields the keys of one backward pass after the other."""
        for iteration in range(self.start, self.stop):
            for part in range(self.plan.interval):
                yield [self._key(place) for place in self.plan.places(iteration, part)]

    def _key(self, place: int) -> SampleKey:
        epoch, position = divmod(place, self.num_items)
        if epoch != self._epoch:
            gen = torch.Generator().manual_seed(self.seed + epoch)
            self._order = torch.randperm(self.num_items, generator=gen).numpy()
            self._epoch = epoch
        seed = np.random.SeedSequence([self.seed, place]).generate_state(1)[0]
        return SampleKey(int(self._order[position]), int(seed))


class TrainingFeed:
    """Gives the batches of a training.

    Args:
        dataset: where samples come from.
        plan: clips of a step and of a backward pass.
        num_workers: loader processes; 0 loads in the calling one.
        seed: of order and samples.
        pin_memory: page-locked batches, for copying to a GPU.
    """

    def __init__(
        self,
        dataset: ClipSet,
        plan: BatchPlan,
        *,
        num_workers: int = 8,
        seed: int = DEFAULT_SEED,
        pin_memory: bool = False,
    ) -> None:
        if not len(dataset):
            raise ConfigError("the data set of the training is empty")
        self.dataset, self.plan, self.seed = dataset, plan, seed
        self.num_workers, self.pin_memory = num_workers, pin_memory

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Yields the batches of the iterations `start` to `stop` - 1, `plan.interval` of each.

        Raises:
            UserError: a file of the data set cannot be used; the message names it.
        """
        keys = KeySampler(len(self.dataset), self.plan, self.seed, start, stop)
        loader: DataLoader[Any] = DataLoader(
            ErrorsAsValues(self.dataset),
            batch_sampler=keys,
            num_workers=self.num_workers,
            collate_fn=CollateValues(collate),
            pin_memory=self.pin_memory,
            worker_init_fn=WorkerInit(self.plan.rank),
            # Its own generator: building a loader must not move the training's random state.
            generator=torch.Generator().manual_seed(self.seed + start),
        )
        for batch in loader:
            if isinstance(batch, UserError):
                raise batch
            yield batch

    def state(self) -> dict[str, int]:
        """What the samples of an iteration depend on besides its number."""
        return {
            "samples": len(self.dataset),
            "batch_size": self.plan.batch_size,
            "seed": self.seed,
        }
