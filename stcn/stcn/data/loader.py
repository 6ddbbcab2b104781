"""Batches for training: shuffled, divided between processes, and the same again after a resume.

Every sample is made from its key alone (``SampleKey``: item, seed, largest frame distance), and
the keys of iteration ``i`` follow from the loader's seed and ``i``. Neither the number of worker
processes nor what they have prefetched plays a part, so that a training that goes on at
iteration ``i`` sees exactly the samples it would have seen without the interruption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler, default_collate

from stcn.data.curriculum import FIRST_JUMP
from stcn.data.samples import SampleKey, TrainingSet
from vidseg_common.errors import ConfigError, UserError
from vidseg_common.loader_workers import CollateValues, ErrorsAsValues, WorkerInit

#: Seed of the published training.
DEFAULT_SEED = 14_159_265

Batch = dict[str, Any]


def first_jump(epoch: int) -> int:
    """Return the jump of a training without curriculum, whatever the epoch."""
    return FIRST_JUMP


@dataclass(frozen=True)
class LoaderOptions:
    """How batches are made.

    Attributes:
        batch_size: samples in the batch of one process.
        num_workers: worker processes; 0 loads in the calling one.
        seed: start of all draws.
        rank: number of this process.
        world_size: processes that share the data.
        pin_memory: page-locked batches, for copying to a GPU.
    """

    batch_size: int
    num_workers: int = 8
    seed: int = DEFAULT_SEED
    rank: int = 0
    world_size: int = 1
    pin_memory: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch size must be at least 1, got {self.batch_size}")
        if not 0 <= self.rank < self.world_size:
            raise ConfigError(f"rank {self.rank} does not exist among {self.world_size}")


def iterations_per_epoch(num_items: int, options: LoaderOptions) -> int:
    """Return how many whole batches every process gets in one epoch.

    Raises:
        ConfigError: not even one.
    """
    per_rank = -(-num_items // options.world_size)
    if per_rank < options.batch_size:
        raise ConfigError(
            f"{num_items} training items on {options.world_size} process(es) do not fill one "
            f"batch of {options.batch_size}: use a smaller batch or repeat the data"
        )
    return per_rank // options.batch_size


class KeySampler(Sampler[list[SampleKey]]):
    """The keys of the batches from one iteration to another, over all epochs between.

    Every epoch visits the items in another order, the same for all processes, of which each
    takes every ``world_size``-th; the list is filled up from its start to make the shares equal,
    and an incomplete last batch is dropped.

    Args:
        num_items: length of the data set.
        options: batch size, seed, rank.
        start: first iteration.
        stop: iteration before which to end.
        jump_of_epoch: largest frame distance in force in an epoch.
    """

    def __init__(
        self,
        num_items: int,
        options: LoaderOptions,
        start: int,
        stop: int,
        jump_of_epoch: Callable[[int], int] = first_jump,
    ) -> None:
        self.num_items = num_items
        self.options = options
        self.start = start
        self.stop = stop
        self.jump_of_epoch = jump_of_epoch
        self.epoch_length = iterations_per_epoch(num_items, options)

    def __len__(self) -> int:
        """Return the number of batches."""
        return max(self.stop - self.start, 0)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Yield the keys of one batch after the other."""
        epoch = -1
        items: list[int] = []
        for iteration in range(self.start, self.stop):
            if iteration // self.epoch_length != epoch:
                epoch = iteration // self.epoch_length
                items = self._items(epoch)
            first = iteration % self.epoch_length * self.options.batch_size
            jump = self.jump_of_epoch(epoch)
            yield [
                SampleKey(items[place], self._seed(epoch, place), jump)
                for place in range(first, first + self.options.batch_size)
            ]

    def _items(self, epoch: int) -> list[int]:
        gen = torch.Generator().manual_seed(self.options.seed + epoch)
        order = torch.randperm(self.num_items, generator=gen).tolist()
        missing = -len(order) % self.options.world_size
        order += (order * -(-missing // len(order)))[:missing]
        return order[self.options.rank :: self.options.world_size]

    def _seed(self, epoch: int, place: int) -> int:
        # The place in the list of all processes: ranks must not repeat each other's draws.
        place = place * self.options.world_size + self.options.rank
        return int(np.random.SeedSequence([self.options.seed, epoch, place]).generate_state(1)[0])


class TrainingLoader:
    """Gives the batches of a training from any iteration on.

    A batch holds the entries of a sample (``stcn.data.samples``) stacked along a first axis;
    ``info`` becomes ``{"name": [B names], "frames": [3 lists of B names]}``.

    Args:
        dataset: where samples come from.
        options: how batches are made.
        jump_of_epoch: largest frame distance in force in an epoch, ``SkipSchedule.max_jump``.
            It travels with every sample, so that the workers live on when it changes.
    """

    def __init__(
        self,
        dataset: TrainingSet,
        options: LoaderOptions,
        jump_of_epoch: Callable[[int], int] = first_jump,
    ) -> None:
        self.dataset = dataset
        self.options = options
        self.jump_of_epoch = jump_of_epoch
        self._length = iterations_per_epoch(len(dataset), options)

    def __len__(self) -> int:
        """Return the iterations of one epoch."""
        return self._length

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches of the iterations ``start`` to ``stop`` - 1.

        Raises:
            UserError: a file of the data set cannot be used; the message names it.
        """
        options = self.options
        loader: DataLoader[Any] = DataLoader(
            ErrorsAsValues(self.dataset),
            batch_sampler=KeySampler(len(self.dataset), options, start, stop, self.jump_of_epoch),
            num_workers=options.num_workers,
            collate_fn=CollateValues(default_collate),
            pin_memory=options.pin_memory,
            worker_init_fn=WorkerInit(options.rank),
            # Its own generator: building a loader must not move the training's random state.
            generator=torch.Generator().manual_seed(options.seed + start),
        )
        for batch in loader:
            if isinstance(batch, UserError):
                raise batch
            yield batch

    def state(self, iteration: int) -> dict[str, int]:
        """Return where in the data a training stands that has done ``iteration`` iterations."""
        epoch, position = divmod(iteration, self._length)
        return {
            "epoch": epoch,
            "position": position,
            "length": self._length,
            "seed": self.options.seed,
        }

    def changes(self, state: Mapping[str, int]) -> list[str]:
        """Say why a training resumed from ``state`` would see other samples than without a stop.

        Returns:
            One line for each reason; empty when it goes on exactly.
        """
        names = {"length": "iterations per epoch", "seed": "data seed"}
        now = {"length": self._length, "seed": self.options.seed}
        return [
            f"{text}: {state[name]} before, {now[name]} now"
            for name, text in names.items()
            if state[name] != now[name]
        ]
