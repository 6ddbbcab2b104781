"""The file a training continues from: reading and checking `*_checkpoint.pth` (spec 6.9).

Its four entries `it`, `network`, `optimizer` and `scheduler` are those of the original
implementation, whose files are accepted; ours add the loss scaler, the random generators, the
place in the data and the averages of the running report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stcn.checkpoint import variant_shapes
from stcn.config import TrainConfig
from vidseg_common.checkpoint import load_checkpoint, load_strict, strip_prefix
from vidseg_common.errors import CheckpointError

REQUIRED = ("it", "network", "optimizer", "scheduler")


def read_resume_file(path: Path) -> dict[str, Any]:
    """Reads a resume file.

    Raises:
        CheckpointError: missing, truncated or foreign file, one that carries code, or weights
            alone.
    """
    content = load_checkpoint(path)
    present = content if isinstance(content, Mapping) else {}
    missing = [name for name in REQUIRED if name not in present]
    missing += [n for n in REQUIRED[1:] if n in present and not isinstance(present[n], Mapping)]
    if missing:
        raise CheckpointError(
            f"{path}: not a file to resume from: it lacks {', '.join(missing)}; "
            "to start from weights alone use --load_network"
        )
    return dict(content)


def resume_network(network: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Copies the weights of a resume file; unlike `--load_network`, nothing is converted.

    Raises:
        CheckpointError: the file is of another structure, with a table and the one that fits.
    """
    weights = strip_prefix(dict(state["network"]), "module.")
    load_strict(network, weights, source=str(path), variants=variant_shapes())


def resume_optimiser(
    optimiser: torch.optim.Optimizer, state: Mapping[str, Any], path: Path
) -> None:
    """Copies the optimiser's moments, which belong to parameters by their order.

    Raises:
        CheckpointError: number or shapes differ from the network's parameters.
    """
    saved = state["optimizer"]
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    numbers = [n for group in saved["param_groups"] for n in group["params"]]
    shapes = [saved["state"].get(n, {}).get("exp_avg") for n in numbers]
    fits = len(numbers) == len(parameters) and all(
        moment is None or moment.shape == parameter.shape
        for moment, parameter in zip(shapes, parameters, strict=True)
    )
    if not fits:
        raise CheckpointError(
            f"{path}: its optimiser belongs to another network; to go on with the weights alone "
            "use --load_network"
        )
    optimiser.load_state_dict(saved)


def overruled_settings(
    config: TrainConfig, scheduler: torch.optim.lr_scheduler.MultiStepLR
) -> Iterator[str]:
    """Settings in which the resumed schedule, which goes on, differs from the configuration.

    Yields:
        One line for each.
    """
    kept = {
        "lr": (scheduler.base_lrs[0], config.lr),
        "gamma": (scheduler.gamma, config.gamma),
        "steps": (tuple(sorted(scheduler.milestones.elements())), tuple(config.steps)),
    }
    for name, (before, now) in kept.items():
        if before != now:
            yield f"{name} stays {before} as in the file; {now} is not used"
