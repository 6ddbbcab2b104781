"""Scores and losses of a network while it is trained (spec 7.3, 7.4, 8.1)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from devis.config import Config
from devis.evaluate import evaluate
from devis.visdom_curves import score_legend
from vidseg_common import distributed
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
        the Visdom curves; empty in the others.

    Raises:
        UserError: the data set cannot be used.
    """
    results = folder / cfg.TEST.SAVE_PATH / f"epoch_{epoch}"
    before = capture_rng()
    try:
        numbers = evaluate(
            network, cfg, device=torch.device(dist.device), folder=results, dist=dist
        )
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
