"""Scores and losses of a network while it is trained (spec 7.3, 7.4, 8.1)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from devis.config import Config, loss_settings
from devis.data.build import val_images
from devis.evaluate import evaluate
from devis.feed import Batch, collate
from devis.training_log import shown_values
from devis.training_step import TrainingStep
from devis.visdom_curves import score_legend
from vidseg_common import distributed
from vidseg_common.errors import UserError
from vidseg_common.loader_workers import CollateValues, ErrorsAsValues, WorkerInit
from vidseg_common.seeding import capture_rng, restore_rng

#: Kind of AP to the start of its numbers' names.
_PREFIXES = {"BBOX": "bbox_", "MASK": "segm_"}
_NAMES = {"0.50:0.95": "AP", "0.50": "AP50", "0.75": "AP75"}


def is_due(cfg: Config, epoch: int) -> bool:
    """Whether an epoch (from 1) is followed by an evaluation."""
    period = cfg.TEST.EVAL_PERIOD
    if period <= 0 or epoch < cfg.TEST.START_EVAL_EPOCH:
        return False
    return epoch == 1 or epoch % period == 0


def validate(
    network: nn.Module, cfg: Config, dist: distributed.DistInfo, folder: Path, epoch: int
) -> dict[str, float]:
    """Evaluates a network, which is left as it is, as are the random generators.

    Args:
        network: in training, not wrapped.
        cfg: of the network.
        dist: place of this process; all of them take part.
        folder: of the training.
        epoch: number of the epoch, from 1.

    Returns:
        The scores in the first process, by the names of `evaluate` and, for images, by those of
        the Visdom curves; of images the losses too, in every process.

    Raises:
        UserError: the data set cannot be used.
    """
    results = folder / cfg.TEST.SAVE_PATH / f"epoch_{epoch}"
    before = capture_rng()
    try:
        numbers = evaluate(
            network, cfg, device=torch.device(dist.device), folder=results, dist=dist
        )
        if cfg.DATASETS.TYPE == "coco":
            numbers |= image_losses(network, cfg, dist)
    finally:
        restore_rng(before)
    return numbers | curve_values(numbers, masks=cfg.MODEL.MASK_ON)


def curve_values(numbers: dict[str, float], *, masks: bool) -> dict[str, float]:
    """AP of images by the names of the Visdom curves."""
    found = {}
    for name in score_legend(masks=masks):
        kind, threshold = name.split(" AP IoU=")
        key = f"{_PREFIXES[kind]}{_NAMES[threshold]}"
        if key in numbers:
            found[name] = numbers[key]
    return found


def best_values(numbers: dict[str, float]) -> dict[str, float]:
    """What decides which epoch is the best one: AP of boxes and of masks."""
    return {
        kind: numbers[f"{prefix}AP"]
        for kind, prefix in _PREFIXES.items()
        if f"{prefix}AP" in numbers
    }


@torch.no_grad()
def image_losses(network: nn.Module, cfg: Config, dist: distributed.DistInfo) -> dict[str, float]:
    """Losses of the validation images, means over all batches; masks of the last layer count.

    Args:
        network: for images; left as it is.
        cfg: of the network.
        dist: place of this process; each takes a part of the images.

    Raises:
        UserError: an image cannot be read.
    """
    settings = replace(loss_settings(cfg), mask_layers=())
    was_training = network.training
    step = TrainingStep(network, settings).eval()
    sums = dict.fromkeys(["loss", "class_error", *settings.weights(), "batches"], 0.0)
    try:
        for batch in _image_batches(cfg, dist):
            if isinstance(batch, UserError):
                raise batch
            moved = batch.to(torch.device(dist.device))
            count = max(moved.num_entries, 1)
            losses = step(moved.images, moved.padding, moved.targets, count)
            for name in sums:
                sums[name] += 1.0 if name == "batches" else float(losses[name])
    finally:
        network.train(was_training)
    means = distributed.all_reduce_mean(sums)
    shares = {name: value / max(means["batches"], 1e-9) for name, value in means.items()}
    return shown_values(shares, settings, {})


def _image_batches(cfg: Config, dist: distributed.DistInfo) -> DataLoader[Batch | UserError]:
    """The validation images of this process."""
    dataset, size = val_images(cfg), cfg.SOLVER.BATCH_SIZE
    mine = list(range(dist.rank, len(dataset), dist.world_size))
    return DataLoader(
        ErrorsAsValues(dataset),
        batch_sampler=[mine[first : first + size] for first in range(0, len(mine), size)],
        num_workers=cfg.NUM_WORKERS,
        collate_fn=CollateValues(collate),
        worker_init_fn=WorkerInit(dist.rank),
    )
