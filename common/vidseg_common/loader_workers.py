"""Processes that load training samples: their seeds, their signals, their errors."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Generic, TypeVar

import cv2
from torch.utils.data import Dataset

from vidseg_common.errors import UserError
from vidseg_common.seeding import WorkerSeeder

Sample = TypeVar("Sample")


class WorkerInit:
    """`worker_init_fn` of a training's DataLoader.

    Samples have their own generators; the global ones are seeded all the same, for whatever a
    library may draw from them. A signal that reaches the whole group of processes (Ctrl-C, the end
    of a cluster job) is the training process's to answer: it still needs its workers to finish the
    iteration, and ends them itself.

    Args:
        rank: rank of the training process, so that the ranks draw differently.
    """

    def __init__(self, rank: int = 0) -> None:
        self.rank = rank

    def __call__(self, worker_id: int) -> None:
        """Seeds the global generators, keeps OpenCV to one thread, leaves signals to the parent."""
        WorkerSeeder(self.rank)(worker_id)
        cv2.setNumThreads(0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _ignore_once)


def _ignore_once(number: int, _frame: FrameType | None) -> None:
    """Lets the first SIGTERM pass; the next one, from the parent, ends the worker."""
    signal.signal(number, signal.SIG_DFL)


class ErrorsAsValues(Dataset[Any], Generic[Sample]):
    """Hands a user's error over as a value: raised in a worker it would lose its one line.

    Args:
        dataset: what gives the samples.
    """

    def __init__(self, dataset: Dataset[Sample]) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Any) -> Sample | UserError:
        """The sample of a key, or why there is none."""
        try:
            return self.dataset[key]
        except UserError as error:
            return error


@dataclass(frozen=True)
class CollateValues:
    """`collate_fn` beside `ErrorsAsValues`: a batch, or the first error in place of it.

    Attributes:
        collate: makes a batch of samples.
    """

    collate: Callable[[list[Any]], Any]

    def __call__(self, values: Sequence[Any]) -> Any:
        """The batch, or the first error."""
        for value in values:
            if isinstance(value, UserError):
                return value
        return self.collate(list(values))
