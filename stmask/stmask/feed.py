"""How the clips of a training step are shared out, and how long an epoch is (spec 10.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stmask.data.collate import Batch, collate
from stmask.data.pairs import PairDataset
from vidseg_common.errors import ConfigError
from vidseg_common.training_feed import TrainingFeed

#: Seed of everything where none is asked for.
DEFAULT_SEED = 0


@dataclass(frozen=True)
class Shares:
    """The clips of a step in shares, each with losses of its own; the step takes their mean.

    That is what several GPUs do, one share each. A process that has several takes them one after
    the other, with the same result.

    Attributes:
        sizes: clips of every share.
        rank: number of this process.
        world_size: number of processes.
    """

    sizes: tuple[int, ...]
    rank: int = 0
    world_size: int = 1

    @property
    def batch_size(self) -> int:
        """Clips of a step, over all processes."""
        return sum(self.sizes)

    @property
    def interval(self) -> int:
        """Shares of each process."""
        return len(self.sizes) // self.world_size

    def places(self, iteration: int, part: int) -> range:
        """Places in the order of all samples of one share of this process."""
        share = part * self.world_size + self.rank
        first = iteration * self.batch_size + sum(self.sizes[:share])
        return range(first, first + self.sizes[share])


def make_shares(
    batch_size: int,
    alloc: Sequence[int] | None = None,
    *,
    rank: int = 0,
    world_size: int = 1,
) -> Shares:
    """The shares of a batch.

    Args:
        batch_size: clips.
        alloc: sizes of the shares (`--batch_alloc`); None makes one for each process.
        rank: number of this process.
        world_size: number of processes.

    Raises:
        ConfigError: the clips cannot be shared out so.
    """
    if alloc is None:
        if batch_size % world_size:
            raise ConfigError(
                f"--batch_size {batch_size} cannot be shared evenly by {world_size} processes; use "
                "a multiple of their number, or --batch_alloc"
            )
        alloc = (batch_size // world_size,) * world_size
    if sum(alloc) != batch_size or min(alloc, default=0) < 1:
        raise ConfigError(
            f"--batch_alloc {','.join(map(str, alloc))}: expected positive numbers with the sum "
            f"{batch_size}, which is --batch_size"
        )
    if len(alloc) % world_size:
        raise ConfigError(
            f"--batch_alloc {','.join(map(str, alloc))}: expected one number, or equally many, for "
            f"each of {world_size} processes"
        )
    return Shares(tuple(alloc), rank, world_size)


def epoch_length(num_items: int, batch_size: int) -> int:
    """Iterations of a pass over the data; a rest smaller than a batch is left out of it.

    Raises:
        ConfigError: there is less than one batch.
    """
    if num_items < batch_size:
        raise ConfigError(
            f"--batch_size {batch_size}: the training set has {num_items} frames with an object, "
            "less than one batch"
        )
    return num_items // batch_size


def make_feed(
    dataset: PairDataset, shares: Shares, *, num_workers: int, seed: int, pin_memory: bool = False
) -> TrainingFeed[Batch]:
    """The batches of a training, from any iteration on.

    Raises:
        ConfigError: the data set is smaller than a batch.
    """
    batch_size = shares.batch_size
    return TrainingFeed(
        dataset,
        shares,
        collate,
        num_workers=num_workers,
        seed=seed,
        pin_memory=pin_memory,
        pass_length=epoch_length(len(dataset), batch_size) * batch_size,
    )
