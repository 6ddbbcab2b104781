"""Optimiser and learning rate of a configuration (spec section 7.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from vidseg_common.errors import ConfigError


def build_optimiser(parameters: Iterable[nn.Parameter], training: Any) -> torch.optim.Optimizer:
    """SGD or Adam over all parameters; those without a gradient do not decay either.

    Args:
        parameters: of the network.
        training: configuration section TRAINING.

    Raises:
        ConfigError: another optimiser.
    """
    lr, decay = float(training.INITIAL_LR), float(training.WEIGHT_DECAY)
    if training.OPTIMIZER == "SGD":
        return torch.optim.SGD(
            parameters,
            lr=lr,
            momentum=float(training.MOMENTUM),
            nesterov=bool(training.NESTEROV),
            weight_decay=decay,
        )
    if training.OPTIMIZER == "Adam":
        return torch.optim.Adam(parameters, lr=lr, weight_decay=decay)
    raise ConfigError(f"TRAINING.OPTIMIZER must be SGD or Adam, not {training.OPTIMIZER!r}")


class DecayFactor:
    """Factor on the initial learning rate in force at a step of the optimiser.

    Args:
        training: configuration section TRAINING.

    Raises:
        ConfigError: an unknown LR_DECAY_TYPE, or values that give no schedule.
    """

    def __init__(self, training: Any) -> None:
        self.kind = str(training.LR_DECAY_TYPE)
        if self.kind == "step":
            self.steps = [int(step) for step in training.LR_DECAY_STEPS]
            self.factor = float(training.LR_DECAY_FACTOR)
        elif self.kind == "exponential":
            self.start = int(training.LR_EXP_DECAY_START)
            length = int(training.LR_EXP_DECAY_STEPS)
            factor = float(training.LR_EXP_DECAY_FACTOR)
            if length < 1 or factor <= 0:
                raise ConfigError(
                    "TRAINING.LR_EXP_DECAY_STEPS must be at least 1 and LR_EXP_DECAY_FACTOR above "
                    f"0, got {length} and {factor}"
                )
            self.gamma = factor ** (1.0 / length)
        elif self.kind != "none":
            raise ConfigError(
                f"TRAINING.LR_DECAY_TYPE must be step, exponential or none, not {self.kind!r}"
            )

    def __call__(self, iteration: int) -> float:
        """The factor at a step, counted from 0."""
        if self.kind == "step":
            return self.factor ** sum(step <= iteration for step in self.steps)
        if self.kind == "exponential" and iteration >= self.start:
            return self.gamma ** (iteration - self.start + 1)
        return 1.0


def build_scheduler(optimiser: torch.optim.Optimizer, training: Any) -> LambdaLR:
    """The learning rate, to be stepped once after every step of the optimiser.

    Its state is the number of steps alone, so that a training that resumes follows the schedule of
    its configuration.

    Raises:
        ConfigError: see `DecayFactor`.
    """
    factor = DecayFactor(training)
    return LambdaLR(optimiser, lambda iteration: factor(iteration))
