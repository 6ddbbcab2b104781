"""Checkpoints of a training: `epoch_N.pth`, `iter_N.pth` where it was stopped, `latest.pth`.

Each is a file like the released ones, which holds besides what a training needs to go on: random
generators, the scaler of half precision, and what the order of pairs depends on.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vatrack.checkpoint import load_weights, read_checkpoint, write_checkpoint
from vatrack.model.network import VATrackNet
from vidseg_common.errors import CheckpointError
from vidseg_common.optimiser_state import load_optimiser

LATEST = "latest.pth"
#: Entry of a file with what resuming needs besides weights and optimiser.
STATE = "training"
_NAME = re.compile(r"(?P<kind>epoch|iter)_(?P<number>\d+)\.pth")


@dataclass(frozen=True)
class Resumed:
    """What a checkpoint says about the training that wrote it.

    Attributes:
        iteration: iterations that are done.
        epoch_length: iterations of an epoch; None in files of other programs.
        rng: random generators, None likewise.
        scaler: of half precision, empty without.
        data: what the order of pairs depends on.
    """

    iteration: int
    epoch_length: int | None = None
    rng: dict[str, Any] | None = None
    scaler: dict[str, Any] | None = None
    data: dict[str, int] | None = None


def save(
    folder: Path,
    name: str,
    network: VATrackNet,
    meta: Mapping[str, Any],
    optimiser: torch.optim.Optimizer,
    state: Mapping[str, Any],
) -> Path:
    """Writes a checkpoint and lets `latest.pth` point to it.

    Args:
        folder: of the training.
        name: "epoch_3.pth".
        network: whose weights.
        meta: see `vatrack.checkpoint.make_meta`.
        optimiser: whose moments.
        state: "rng", "scaler", "data", "epoch_length".

    Returns:
        The file.

    Raises:
        CheckpointError: it cannot be written.
    """
    path = folder / name
    rest = {STATE: dict(state)}
    write_checkpoint(path, network, meta, optimizer=optimiser.state_dict(), rest=rest)
    point_to(path)
    return path


def point_to(path: Path) -> None:
    """Makes `latest.pth` beside a file a link to it, or a copy where there are no links."""
    new = path.with_name(f".{LATEST}.new")
    new.unlink(missing_ok=True)
    try:
        new.symlink_to(path.name)
    except OSError:
        shutil.copyfile(path, new)
    new.replace(path.with_name(LATEST))


def remove_old(folder: Path, newest: Path, keep: int | None) -> None:
    """Removes checkpoints of stopped trainings, and epochs but for the newest.

    Args:
        folder: of the training.
        newest: stays in any case.
        keep: epochs that stay; None: all.
    """
    found: dict[str, list[tuple[int, Path]]] = {"epoch": [], "iter": []}
    for path in folder.glob("*.pth"):
        match = _NAME.fullmatch(path.name)
        if match is not None and path != newest:
            found[match["kind"]].append((int(match["number"]), path))
    epochs = [path for _, path in sorted(found["epoch"])]
    others = max(0, (keep or 0) - newest.name.startswith("epoch"))
    surplus = epochs[: len(epochs) - others] if keep is not None else []
    for path in [*surplus, *(path for _, path in found["iter"])]:
        path.unlink(missing_ok=True)


def resume(path: Path, network: VATrackNet, optimiser: torch.optim.Optimizer) -> Resumed:
    """Copies weights and moments of a checkpoint.

    Args:
        path: of a file that `save` or the original wrote.
        network: filled in place.
        optimiser: filled in place.

    Raises:
        CheckpointError: the file cannot be read, has no optimiser, or is of another network.
    """
    checkpoint = read_checkpoint(path)
    if checkpoint.optimizer is None:
        raise CheckpointError(
            f"{path}: has no optimiser, so no training can go on from it; start a new one from its "
            "weights with --load-from"
        )
    load_weights(network, checkpoint)
    load_optimiser(
        optimiser,
        checkpoint.optimizer,
        f"{path}: its optimiser is not that of this network; start a new training from its weights "
        "with --load-from",
    )
    iteration = checkpoint.meta.get("iter")
    if not isinstance(iteration, int):
        raise CheckpointError(f"{path}: meta.iter: expected the number of iterations")
    state = checkpoint.rest.get(STATE)
    if not isinstance(state, Mapping):
        return Resumed(iteration)
    return Resumed(iteration, *(state.get(k) for k in ("epoch_length", "rng", "scaler", "data")))
