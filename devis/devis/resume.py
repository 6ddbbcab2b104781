"""Checkpoints of a training, from which it continues bit for bit (spec 7.4).

`checkpoint.pth` is always the newest, `checkpoint_epoch_{e}.pth` stays. Both hold what the original
tool writes (model, optimizer, lr_scheduler, epoch, cfg, vis_win_names, best_val_stats), so files of
either continue in the other, and beyond it the random generators and the place in the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from devis.checkpoint import MODEL_KEY, Checkpoint, load_weights, read_checkpoint
from devis.config import Config, to_dict
from vidseg_common.checkpoint import save_atomic
from vidseg_common.errors import CheckpointError
from vidseg_common.optimiser_state import load_optimiser

#: Name of the newest checkpoint.
NEWEST = "checkpoint.pth"
#: Entries without which a training cannot be continued.
NEEDED = ("optimizer", "lr_scheduler", "epoch")
#: Entries that files of the original tool lack.
OWN = ("iteration", "rng", "data", "scaler")


def epoch_file(folder: Path, epoch: int) -> Path:
    """The checkpoint of an epoch, which stays."""
    return folder / f"checkpoint_epoch_{epoch}.pth"


def best_file(folder: Path, kind: str) -> Path:
    """The checkpoint with the best AP so far.

    Args:
        folder: of the training.
        kind: "BBOX" or "MASK".
    """
    return folder / f"checkpoint_best_{kind}_AP_IoU_0_50-0_95.pth"


def write_checkpoint(
    paths: list[Path], network: nn.Module, cfg: Config, state: Mapping[str, Any]
) -> None:
    """Writes the same checkpoint under each of several names.

    Args:
        paths: of the files.
        network: not wrapped.
        cfg: of the training.
        state: the other entries.

    Raises:
        CheckpointError: a file cannot be written.
    """
    content = {MODEL_KEY: network.state_dict(), **state, "cfg": to_dict(cfg)}
    for path in paths:
        save_atomic(content, path)


def load_resumed(
    network: nn.Module, path: Path, optimiser: torch.optim.Optimizer, schedule: LRScheduler
) -> Checkpoint:
    """Copies weights, moments, learning rates and schedule of a checkpoint.

    The learning rates are those of the file, also behind a step of the schedule.

    Args:
        network: changed in place, as are the next two.
        path: a checkpoint of this program or of the original tool.
        optimiser: of the same network.
        schedule: of the optimiser.

    Raises:
        CheckpointError: the file cannot be read, holds no training, or is of another network.
    """
    file = read_checkpoint(path)
    missing = [name for name in NEEDED if name not in file.rest]
    if missing:
        raise CheckpointError(
            f"{path}: no training can be continued from it: it lacks {', '.join(missing)}; to "
            "start a new one from its weights set SOLVER.RESUME_OPTIMIZER False"
        )
    load_weights(network, file)
    own, groups = len(optimiser.param_groups), file.rest["optimizer"]
    complaint = (
        f"{path}: its optimiser has other parameters or groups than this network with SOLVER.*; "
        "set SOLVER.RESUME_OPTIMIZER False to start a new training from its weights"
    )
    if not isinstance(groups, Mapping) or len(groups.get("param_groups", ())) != own:
        raise CheckpointError(complaint)
    _check_groups(optimiser, groups, complaint)
    load_optimiser(optimiser, groups, complaint)
    saved = file.rest["lr_scheduler"]
    if not isinstance(saved, Mapping) or not {"last_epoch", "milestones"} <= saved.keys():
        raise CheckpointError(f"{path}: lr_scheduler: expected the state of a schedule by steps")
    schedule.load_state_dict(dict(saved))
    return file


def _check_groups(
    optimiser: torch.optim.Optimizer, saved: Mapping[str, Any], complaint: str
) -> None:
    for ours, theirs in zip(optimiser.param_groups, saved["param_groups"], strict=True):
        if len(ours["params"]) != len(theirs["params"]):
            raise CheckpointError(complaint)


def schedule_changes(schedule: LRScheduler, cfg: Config) -> list[str]:
    """Says what of the configured schedule does not act, because the resumed one is in force."""
    saved = schedule.state_dict()
    pairs = {
        "SOLVER.STEPS": (sorted(saved["milestones"]), sorted(cfg.SOLVER.STEPS)),
        "SOLVER.GAMMA": (saved.get("gamma", cfg.SOLVER.GAMMA), cfg.SOLVER.GAMMA),
    }
    return [
        f"{key} stays {kept} as in the checkpoint, not {wanted}"
        for key, (kept, wanted) in pairs.items()
        if kept != wanted
    ]
