"""The state of an optimiser from a file, checked against the parameters it is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from vidseg_common.errors import CheckpointError

#: What an optimiser keeps of a parameter, by the optimiser.
MOMENTS = ("momentum_buffer", "exp_avg")


def load_optimiser(optimiser: torch.optim.Optimizer, saved: Any, complaint: str) -> None:
    """Copies the optimiser's moments, which belong to parameters by their order.

    Args:
        optimiser: changed in place.
        saved: what its `state_dict` gave.
        complaint: file, and what to do where it does not fit.

    Raises:
        CheckpointError: of another optimiser, or number or shapes differ from the parameters; the
            message is the complaint.
    """
    if not _fits(optimiser, saved):
        raise CheckpointError(complaint)
    optimiser.load_state_dict(saved)


def _fits(optimiser: torch.optim.Optimizer, saved: Any) -> bool:
    if not isinstance(saved, Mapping) or not {"state", "param_groups"} <= saved.keys():
        return False
    groups, entries = saved["param_groups"], saved["state"]
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    numbers = [number for group in groups for number in group["params"]]
    return (
        _has_momentum(groups) == _has_momentum(optimiser.param_groups)
        and len(numbers) == len(parameters)
        and all(
            moment.shape == parameter.shape
            for number, parameter in zip(numbers, parameters, strict=True)
            for moment in _moments(entries.get(number, {}))
        )
    )


def _has_momentum(groups: Any) -> bool:
    """Whether groups are those of SGD, of the optimisers there are."""
    return bool(groups) and "momentum" in groups[0]


def _moments(entry: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    return (entry[name] for name in MOMENTS if isinstance(entry.get(name), torch.Tensor))
