"""From a data set to the batches of a training, from any iteration on.

The order of samples depends on the seed alone, and every sample on its place in that order: a
training that resumes sees what it would have seen, and the number of processes does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from vidseg_common.errors import ConfigError, UserError
from vidseg_common.loader_workers import CollateValues, ErrorsAsValues, WorkerInit

BatchT = TypeVar("BatchT")
#: From the number of a pass over the data to its items in order.
PassOrder = Callable[[int], NDArray[np.int64]]


class SampleKey(NamedTuple):
    """What makes a sample: the item and the seed of its draws."""

    item: int
    seed: int


class Plan(Protocol):
    """How the samples of one step of the optimiser are shared out."""

    @property
    def batch_size(self) -> int:
        """Samples of a step, over all processes."""

    @property
    def rank(self) -> int:
        """Number of this process."""

    @property
    def interval(self) -> int:
        """Backward passes of a step in one process, over which gradients are accumulated."""

    def places(self, iteration: int, part: int) -> range:
        """Places in the order of all samples of one backward pass of this process."""


class KeySampler(Sampler[list[SampleKey]]):
    """The keys of the backward passes from one iteration to another.

    Every pass over the data visits it in another order.

    Args:
        num_items: length of the data set.
        plan: who gets what.
        seed: of order and samples.
        start: first iteration.
        stop: iteration before which to end.
        pass_length: samples of a pass over the data, those behind them in the order are left out
            of it; None takes all.
        order: gives the items of a pass, by its number; None takes them at random, once each.
    """

    def __init__(
        self,
        num_items: int,
        plan: Plan,
        seed: int,
        start: int,
        stop: int,
        pass_length: int | None = None,
        order: PassOrder | None = None,
    ) -> None:
        self.num_items, self.plan, self.seed, self.order = num_items, plan, seed, order
        self.start, self.stop = start, stop
        self.pass_length = pass_length or num_items
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
        epoch, position = divmod(place, self.pass_length)
        if epoch != self._epoch and self.order is not None:
            self._order, self._epoch = self.order(epoch), epoch
        elif epoch != self._epoch:
            gen = torch.Generator().manual_seed(self.seed + epoch)
            self._order = torch.randperm(self.num_items, generator=gen).numpy()
            self._epoch = epoch
        seed = np.random.SeedSequence([self.seed, place]).generate_state(1)[0]
        return SampleKey(int(self._order[position]), int(seed))


class TrainingFeed(Generic[BatchT]):
    """Gives the batches of a training.

    Args:
        dataset: where samples come from, by their keys; it has a length.
        plan: samples of a step and of a backward pass.
        collate: makes a batch of samples.
        num_workers: loader processes; 0 loads in the calling one.
        seed: of order and samples.
        pin_memory: page-locked batches, for copying to a GPU.
        pass_length: see `KeySampler`.
        order: see `KeySampler`.

    Raises:
        ConfigError: the data set is empty.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        plan: Plan,
        collate: Callable[[Sequence[Any]], BatchT],
        *,
        num_workers: int,
        seed: int,
        pin_memory: bool = False,
        pass_length: int | None = None,
        order: PassOrder | None = None,
    ) -> None:
        self.num_samples = len(dataset)  # type: ignore[arg-type]  # Dataset has no __len__
        if not self.num_samples:
            raise ConfigError("the data set of the training is empty")
        self.dataset, self.plan, self.collate, self.seed = dataset, plan, collate, seed
        self.num_workers, self.pin_memory = num_workers, pin_memory
        self.pass_length, self.order = pass_length, order

    def batches(self, start: int, stop: int) -> Iterator[BatchT]:
        """Yields the batches of the iterations `start` to `stop` - 1, `plan.interval` of each.

        Raises:
            UserError: a file of the data set cannot be used; the message names it.
        """
        given = (self.pass_length, self.order)
        keys = KeySampler(self.num_samples, self.plan, self.seed, start, stop, *given)
        loader: DataLoader[Any] = DataLoader(
            ErrorsAsValues(self.dataset),
            batch_sampler=keys,
            num_workers=self.num_workers,
            collate_fn=CollateValues(self.collate),
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
            "samples": self.num_samples,
            "batch_size": self.plan.batch_size,
            "seed": self.seed,
        }


def data_changes(before: dict[str, int], now: dict[str, int]) -> list[str]:
    """Says why a resumed training sees other samples than without the stop; empty for no reason.

    Args:
        before: `TrainingFeed.state` of the training that was stopped.
        now: that of this one.
    """
    return [
        f"other samples than before: {name.replace('_', ' ')} was {before[name]}, is {now[name]}"
        for name in now
        if name in before and before[name] != now[name]
    ]
