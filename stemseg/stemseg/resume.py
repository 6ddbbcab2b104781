"""The file a training continues from: naming, reading, checking (spec section 7.9).

Its entries `model`, `optimizer`, `lr_scheduler`, `logger` and `iterations` are those of the
original implementation; ours add the loss scaler, the random generators and the place in the data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from stemseg.checkpoint import variant_shapes
from vidseg_common.checkpoint import load_checkpoint, load_strict, strip_prefix
from vidseg_common.errors import CheckpointError
from vidseg_common.optimiser_state import load_optimiser

REQUIRED = ("model", "optimizer", "lr_scheduler", "iterations")
#: Checkpoints are named after their number of iterations.
NAME = re.compile(r"\d{6,}\.pth")


def checkpoint_name(iteration: int) -> str:
    """File name of the checkpoint after so many iterations."""
    return f"{iteration:06d}.pth"


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a folder, the one with the fewest iterations first."""
    found = [path for path in folder.glob("*.pth") if NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.stem))


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint to continue from: the last by name of all `*.pth`, None without any."""
    numbered = checkpoints(folder)
    return numbered[-1] if numbered else max(folder.glob("*.pth"), default=None)


def remove_old(folder: Path, keep: int) -> None:
    """Removes all but the newest checkpoints; other files stay.

    Args:
        folder: of the checkpoints.
        keep: how many stay; 0 or fewer keeps all.
    """
    if keep > 0:
        for path in checkpoints(folder)[:-keep]:
            path.unlink()


def read_resume_file(path: Path) -> dict[str, Any]:
    """Reads a checkpoint of a training.

    Raises:
        CheckpointError: missing, truncated or foreign file, one that carries code, or weights
            alone.
    """
    content = load_checkpoint(path)
    present = content if isinstance(content, Mapping) else {}
    missing = [name for name in REQUIRED if name not in present]
    missing += [n for n in REQUIRED[:3] if n in present and not isinstance(present[n], Mapping)]
    if missing:
        raise CheckpointError(
            f"{path}: not a file to resume from: it lacks {', '.join(missing)}; "
            "to start from weights alone use --initial_ckpt"
        )
    return dict(content)


def resume_network(network: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Copies the weights of a resume file.

    Raises:
        CheckpointError: the file is of another structure, with a table and the model that fits.
    """
    weights = strip_prefix(dict(state["model"]), "module.")
    load_strict(network, weights, source=str(path), variants=variant_shapes())


def resume_optimiser(
    optimiser: torch.optim.Optimizer, state: Mapping[str, Any], path: Path
) -> None:
    """Copies the optimiser's moments, which belong to parameters by their order.

    Raises:
        CheckpointError: of another optimiser, or number or shapes differ from the parameters.
    """
    load_optimiser(
        optimiser,
        state["optimizer"],
        f"{path}: its optimiser belongs to another network or is of another kind; to go on with "
        "the weights alone use --initial_ckpt",
    )


def resume_scheduler(scheduler: LambdaLR, iteration: int) -> None:
    """Puts the learning rate to that of the configuration at an iteration.

    Call it after `resume_optimiser`, which brings the rate of the file.
    """
    scheduler.last_epoch = iteration
    scheduler._step_count = iteration + 1
    rates = [
        base * factor(iteration)
        for base, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    ]
    for group, rate, base in zip(
        scheduler.optimizer.param_groups, rates, scheduler.base_lrs, strict=True
    ):
        group["lr"], group["initial_lr"] = rate, base
    scheduler._last_lr = rates
