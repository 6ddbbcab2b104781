"""Batches of a training, how they are shared out, and how long an epoch is (spec 7.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from devis.data.items import ClipItem, ImageItem, TrainSet, to_target
from devis.data.resize import pad_batch
from devis.losses import Target
from vidseg_common.errors import ConfigError
from vidseg_common.training_feed import TrainingFeed


@dataclass(frozen=True)
class Batch:
    """Images, or the frames of one clip, with their instances.

    Attributes:
        images: (B, 3, H, W) float32; the T frames of a clip.
        padding: (B, H, W), True where there is no image; None for a clip, which has none.
        targets: of B images, or of one clip.
        names: which images or clip, for messages.
    """

    images: Tensor
    padding: Tensor | None
    targets: tuple[Target, ...]
    names: tuple[str, ...]

    @property
    def num_entries(self) -> int:
        """Entries of all targets, also those of frames in which an instance is not."""
        return sum(len(target.labels) for target in self.targets)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """A copy on a device."""
        return self._map(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory; PyTorch's data loader calls it."""
        return self._map(lambda value: value.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        def changed(value: Tensor | None) -> Tensor | None:
            return None if value is None else change(value)

        targets = tuple(
            Target(change(t.labels), change(t.boxes), changed(t.masks), changed(t.valid))
            for t in self.targets
        )
        return replace(
            self, images=change(self.images), padding=changed(self.padding), targets=targets
        )


def collate(items: Sequence[ClipItem | ImageItem]) -> Batch:
    """A batch of images, padded to the largest, or of one clip."""
    targets = tuple(to_target(item.target) for item in items)
    first = items[0]
    if isinstance(first, ClipItem):
        assert len(items) == 1, "a batch has one clip"
        return Batch(first.images, None, targets, (f"video {first.video_id}, {first.start}",))
    images = [item for item in items if isinstance(item, ImageItem)]
    padded = pad_batch([item.image for item in images])
    names = tuple(f"image {item.image_id}" for item in images)
    return Batch(padded.images, padded.mask, targets, names)


@dataclass(frozen=True)
class Shares:
    """How the samples of a step are shared out.

    Attributes:
        size: samples of a backward pass.
        interval: backward passes of a step in one process.
        rank: number of this process.
        world_size: number of processes.
    """

    size: int = 1
    interval: int = 1
    rank: int = 0
    world_size: int = 1

    @property
    def batch_size(self) -> int:
        """Samples of a step, over all processes."""
        return self.size * self.interval * self.world_size

    def places(self, iteration: int, part: int) -> range:
        """Places in the order of all samples of one backward pass of this process."""
        share = part * self.world_size + self.rank
        first = iteration * self.batch_size + share * self.size
        return range(first, first + self.size)


def epoch_length(num_items: int, shares: Shares) -> int:
    """Steps of a pass over the data; a rest smaller than a batch is left out of it.

    Raises:
        ConfigError: there is less than one batch.
    """
    if num_items < shares.batch_size:
        raise ConfigError(
            f"SOLVER.BATCH_SIZE: a step takes {shares.batch_size} samples ({shares.size} x "
            f"{shares.interval} backward passes x {shares.world_size} processes), the training set "
            f"has {num_items}"
        )
    return num_items // shares.batch_size


def make_feed(
    dataset: TrainSet[ClipItem] | TrainSet[ImageItem],
    shares: Shares,
    *,
    num_workers: int,
    seed: int,
    pin_memory: bool = False,
) -> TrainingFeed[Batch]:
    """The batches of a training, from any step on.

    Raises:
        ConfigError: the data set is smaller than a batch.
    """
    return TrainingFeed(
        dataset,
        shares,
        collate,
        num_workers=num_workers,
        seed=seed,
        pin_memory=pin_memory,
        pass_length=epoch_length(len(dataset), shares) * shares.batch_size,
    )
