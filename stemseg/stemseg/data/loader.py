"""Batches for training: shuffled, divided between processes, the same again after a resume.

Every sample is made from its key alone, and the keys follow from the seed and the position in
the epoch. Neither the number of workers nor what they have loaded ahead plays a part, so that a
training that goes on sees exactly the next sample. Source: spec 7.2, 7.6.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from stemseg.data.collate import Batch, collate
from stemseg.data.samples import ClipSample, ClipSet, SampleKey
from vidseg_common.errors import ConfigError, UserError
from vidseg_common.seeding import WorkerSeeder

#: Of every generator of a training.
DEFAULT_SEED = 42

SamplerState = dict[str, int]


@dataclass(frozen=True)
class LoaderOptions:
    """How batches are made.

    Attributes:
        batch_size: clips in the batch of one process.
        num_workers: loading processes; 0 loads in the calling one.
        seed: start of all draws.
        rank: number of this process.
        world_size: processes that share the samples.
        pin_memory: page-locked batches, for copying to a GPU.
        shuffle: draw the order anew in every epoch.
    """

    batch_size: int = 1
    num_workers: int = 8
    seed: int = DEFAULT_SEED
    rank: int = 0
    world_size: int = 1
    pin_memory: bool = False
    shuffle: bool = True

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"a batch needs at least 1 clip, got {self.batch_size}")
        if self.num_workers < 0:
            raise ConfigError(f"the number of workers cannot be negative, got {self.num_workers}")
        if not 0 <= self.rank < self.world_size:
            raise ConfigError(f"rank {self.rank} does not exist among {self.world_size}")


class ClipSampler(Sampler[list[SampleKey]]):
    """The keys of batch after batch, without end, from any position on.

    In every epoch the samples are permuted, the same way in all processes; the list is filled
    up from its start to a multiple of their number, and every process takes a contiguous slice.
    A last batch that is not full is left out.

    Args:
        num_samples: length of the data set.
        options: batch size, seed, rank.
    """

    def __init__(self, num_samples: int, options: LoaderOptions) -> None:
        self.num_samples = num_samples
        self.options = options
        self.position = 0
        self.epoch_length = -(-num_samples // options.world_size) // options.batch_size
        if self.epoch_length < 1:
            raise ConfigError(
                f"{num_samples} samples on {options.world_size} process(es) do not fill one batch "
                f"of {options.batch_size}"
            )

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Yields the keys of one batch after the other, from `position` on."""
        step = self.position
        epoch, keys = -1, list[SampleKey]()
        while True:
            if step // self.epoch_length != epoch:
                epoch = step // self.epoch_length
                keys = self._keys(epoch)
            first = step % self.epoch_length * self.options.batch_size
            yield keys[first : first + self.options.batch_size]
            step += 1

    def state_dict(self) -> SamplerState:
        """Position, in batches of this process, and what it refers to; the same in all ranks."""
        return {
            "position": self.position,
            "num_samples": self.num_samples,
            "batch_size": self.options.batch_size,
            "world_size": self.options.world_size,
            "seed": self.options.seed,
        }

    def load_state_dict(self, state: Mapping[str, int]) -> list[str]:
        """Goes to the position of a state.

        Returns:
            Why other samples than without the stop will follow, one line for each reason; empty
            where the training goes on exactly. With other batches or processes the position is
            that after as many samples.
        """
        now = self.state_dict()
        names = {"num_samples": "samples", "batch_size": "clips per batch",
                 "world_size": "processes", "seed": "data seed"}  # fmt: skip
        done = state["position"] * state["batch_size"] * state["world_size"]
        self.position = done // (self.options.batch_size * self.options.world_size)
        return [
            f"{text}: {state[key]} before, {now[key]} now"
            for key, text in names.items()
            if state[key] != now[key]
        ]

    def _keys(self, epoch: int) -> list[SampleKey]:
        """The keys of this process in an epoch."""
        order = list(range(self.num_samples))
        if self.options.shuffle:
            gen = torch.Generator().manual_seed(self.options.seed + epoch)
            order = torch.randperm(self.num_samples, generator=gen).tolist()
        share = -(-len(order) // self.options.world_size)
        first = self.options.rank * share
        # The place in the list of all processes seeds a sample: ranks must not repeat draws.
        return [
            SampleKey(order[place % len(order)], self._seed(epoch, place))
            for place in range(first, first + share)
        ]

    def _seed(self, epoch: int, place: int) -> int:
        return int(np.random.SeedSequence([self.options.seed, epoch, place]).generate_state(1)[0])


class TrainingLoader:
    """Gives batches without end.

    Args:
        dataset: where samples come from.
        options: how batches are made.
    """

    def __init__(self, dataset: ClipSet, options: LoaderOptions) -> None:
        self.dataset = dataset
        self.options = options
        self.sampler = ClipSampler(len(dataset), options)

    def __len__(self) -> int:
        """Batches of one epoch in one process."""
        return self.sampler.epoch_length

    def __iter__(self) -> Iterator[Batch]:
        """Yields batches from the position of the sampler on; it counts those handed out.

        Raises:
            UserError: a file of the data set cannot be used; the message names it.
        """
        for batch in self._workers():
            if isinstance(batch, UserError):
                raise batch
            self.sampler.position += 1
            yield batch

    def state_dict(self) -> SamplerState:
        """State of the sampler: the batches that were handed out."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, int]) -> list[str]:
        """See `ClipSampler.load_state_dict`."""
        return self.sampler.load_state_dict(state)

    def _workers(self) -> DataLoader[Any]:
        options = self.options
        return DataLoader(
            _ErrorsAsValues(self.dataset),
            batch_sampler=self.sampler,
            num_workers=options.num_workers,
            collate_fn=_collate,
            pin_memory=options.pin_memory,
            worker_init_fn=WorkerInit(options.rank),
            # Its own generator: building a loader must not move the training's random state.
            generator=torch.Generator().manual_seed(options.seed + self.sampler.position),
        )


class WorkerInit:
    """Prepares a worker process of one rank.

    Samples have their own generators; the global ones are seeded all the same, for whatever a
    library may draw. A signal to the whole group of processes (Ctrl-C, the end of a cluster
    job) is the training process's to answer: it still needs its workers to finish, and ends
    them itself.
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def __call__(self, worker_id: int) -> None:
        """Seeds the global generators, keeps libraries to one thread, leaves signals alone."""
        WorkerSeeder(self.rank)(worker_id)
        cv2.setNumThreads(0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _ignore_once)


def _ignore_once(number: int, _frame: FrameType | None) -> None:
    """Lets the first SIGTERM pass; the next one, from the parent, ends the worker."""
    signal.signal(number, signal.SIG_DFL)


class _ErrorsAsValues(Dataset["ClipSample | UserError"]):
    """Hands a user's error over as a value: raised in a worker it would lose its one line."""

    def __init__(self, dataset: ClipSet) -> None:
        self.dataset = dataset

    def __getitem__(self, key: SampleKey) -> ClipSample | UserError:
        try:
            return self.dataset[key]
        except UserError as error:
            return error


def _collate(samples: list[ClipSample | UserError]) -> Batch | UserError:
    clips: list[ClipSample] = []
    for sample in samples:
        if isinstance(sample, UserError):
            return sample
        clips.append(sample)
    return collate(clips)
