"""Checkpoints of a training, and the side file that lets it continue bit for bit (spec 10.4).

`NAME_EPOCH_ITERATION.pth` has the bare weights, as released files do. Optimiser, random generators
and the place in the data lie in `NAME_EPOCH_ITERATION.optim` beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stmask.checkpoint import load_state, load_weights, save_network
from stmask.model.network import STMask
from stmask.saved import KEYWORDS, SavedName, find_saved
from vidseg_common.checkpoint import load_checkpoint, save_atomic
from vidseg_common.errors import CheckpointError
from vidseg_common.optimiser_state import load_optimiser

#: Entries of a side file.
ENTRIES = ("iteration", "optimizer", "scaler", "rng", "data", "weights")


def side_file(path: Path) -> Path:
    """The side file of a checkpoint."""
    return path.with_suffix(".optim")


def find_resume(word: str, folder: Path, config_name: str) -> Path:
    """The checkpoint that `--resume` names.

    Args:
        word: a path, "latest" or "interrupt".
        folder: where "latest" and "interrupt" look.
        config_name: whose checkpoints they look for.

    Raises:
        CheckpointError: there is none.
    """
    return find_saved(folder, word, config_name) if word in KEYWORDS else Path(word)


def write_checkpoint(path: Path, network: STMask, state: Mapping[str, Any]) -> None:
    """Writes weights and side file, each under its final name or not at all.

    Args:
        path: of the weights.
        network: whose weights.
        state: the other entries of the side file.

    Raises:
        CheckpointError: a file cannot be written.
    """
    # The side file first: whoever finds weights finds it too. It knows which weights it is for.
    save_atomic({**state, "weights": fingerprint(network)}, side_file(path))
    save_network(network, path)


def remove_checkpoint(path: Path) -> None:
    """Removes weights and side file."""
    path.unlink(missing_ok=True)
    side_file(path).unlink(missing_ok=True)


def remove_interrupted(folder: Path, keep: Path) -> None:
    """Removes checkpoints of stopped trainings, all but one."""
    for path in folder.glob("*_interrupt.pth"):
        if path != keep and SavedName.of(path) is not None:
            remove_checkpoint(path)


def load_resumed(network: STMask, path: Path) -> dict[str, Any] | None:
    """Copies the weights of a checkpoint, and reads its side file.

    Returns:
        The entries of the side file; None where there is none for these weights.

    Raises:
        CheckpointError: a file cannot be read, or is of another network.
    """
    settings = network.settings
    load_weights(network, load_state(path, num_downsample=settings.num_downsample), path)
    file = side_file(path)
    if not file.exists():
        return None
    content = load_checkpoint(file)
    missing = [name for name in ENTRIES if not isinstance(content, dict) or name not in content]
    if missing:
        raise CheckpointError(
            f"{file}: is not the side file of a training: it lacks {', '.join(missing)}; remove it "
            "to go on with the weights alone"
        )
    return dict(content) if content["weights"] == fingerprint(network) else None


def resume_optimiser(optimiser: torch.optim.Optimizer, saved: Any, path: Path) -> None:
    """Copies the optimiser's moments.

    Raises:
        CheckpointError: they are of another network.
    """
    load_optimiser(
        optimiser,
        saved,
        f"{side_file(path)}: its optimiser is of another network; remove the file to go on with "
        "the weights alone",
    )


def iteration_of(path: Path) -> int:
    """The iteration that the name of a checkpoint tells.

    Raises:
        CheckpointError: it tells none.
    """
    saved = SavedName.of(path)
    if saved is None:
        raise CheckpointError(
            f"{path}: its name does not tell the iteration (NAME_EPOCH_ITERATION.pth); give "
            "--start_iter"
        )
    return saved.iteration


def fingerprint(network: nn.Module) -> str:
    """A text that other weights hardly share: sums over all tensors."""
    sums = [value.double().sum() for value in network.state_dict().values()]
    total = torch.stack(sums).cpu()
    weighted = (total * torch.arange(1, len(total) + 1)).sum()
    return f"{float(total.sum()).hex()} {float(weighted).hex()}"


def previous_checkpoint(folder: Path, name: SavedName) -> Path | None:
    """The regular checkpoint of the same configuration before one, None without any."""
    found = [
        (saved.iteration, path)
        for path in folder.glob("*.pth")
        if (saved := SavedName.of(path)) is not None
        and saved.name == name.name
        and not saved.is_interrupt
        and saved.iteration < name.iteration
    ]
    return max(found)[1] if found else None
