"""How the clips of a training are shared out, and the batches of it (spec sections 7.1, 7.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stemseg.data.collate import Batch, collate
from stemseg.data.samples import ClipSet
from vidseg_common import training_feed
from vidseg_common.errors import ConfigError
from vidseg_common.training_feed import KeySampler

__all__ = ["DEFAULT_SEED", "BatchPlan", "KeySampler", "TrainingFeed", "plan_batches"]

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


class TrainingFeed(training_feed.TrainingFeed[Batch]):
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
        super().__init__(
            dataset, plan, collate, num_workers=num_workers, seed=seed, pin_memory=pin_memory
        )
