"""Iterations, learning rate and optimiser of a training (spec 10.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from stmask.config import Config
from vidseg_common.errors import ConfigError

#: Learning rate of the released models. Configurations carry another one, which never acted.
DEFAULT_RATE = 1e-4
#: Frames of a batch that a configuration's numbers of iterations are for.
_BASE_FRAMES = 8
FRAMES_PER_CLIP = 2


def scale_factor(batch_size: int) -> float:
    """How many times larger a batch of so many clips is than a configuration reckons with."""
    return FRAMES_PER_CLIP * batch_size / _BASE_FRAMES


def autoscale(cfg: Config, batch_size: int) -> Config:
    """The configuration with its iterations divided by how much larger the batch is.

    Args:
        cfg: `max_iter` and `lr_steps` are changed in the copy.
        batch_size: clips.
    """
    factor = scale_factor(batch_size)
    steps = [int(step // factor) for step in cfg.lr_steps]
    return cfg.copy({"max_iter": int(cfg.max_iter // factor), "lr_steps": steps})


@dataclass(frozen=True)
class Schedule:
    """Learning rate by iteration: linear warm-up, then a drop at each step.

    Attributes:
        rate: after the warm-up.
        gamma: factor at each step.
        steps: iterations from which on a further factor acts.
        warmup_from: rate at iteration 0.
        warmup_until: iteration at which the warm-up ends; 0: there is none.
    """

    rate: float = DEFAULT_RATE
    gamma: float = 0.1
    steps: tuple[int, ...] = ()
    warmup_from: float = 1e-4
    warmup_until: int = 500

    @classmethod
    def of(cls, cfg: Config, rate: float, gamma: float | None = None) -> Schedule:
        """The schedule of a configuration.

        Args:
            cfg: scaled already; see `autoscale`.
            rate: after the warm-up.
            gamma: None takes the configuration's.
        """
        return cls(
            rate=rate,
            gamma=cfg.gamma if gamma is None else gamma,
            steps=tuple(cfg.lr_steps),
            warmup_from=cfg.lr_warmup_init,
            warmup_until=cfg.lr_warmup_until,
        )

    def at(self, iteration: int) -> float:
        """The rate of the step that follows so many done ones."""
        if self.warmup_until > 0 and iteration <= self.warmup_until:
            share = iteration / self.warmup_until
            return (self.rate - self.warmup_from) * share + self.warmup_from
        return self.rate * self.gamma ** sum(step <= iteration for step in self.steps)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of all parameters."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def build_optimiser(
    parameters: Iterable[nn.Parameter], *, rate: float, momentum: float, decay: float
) -> torch.optim.SGD:
    """SGD with weight decay on every parameter that is trained, biases and norms too."""
    return torch.optim.SGD(parameters, lr=rate, momentum=momentum, weight_decay=decay)


def delayed_changes(cfg: Config, before: int, now: int) -> list[dict[str, Any]]:
    """Changes of the configuration that come into force between two iterations.

    Args:
        cfg: its `delayed_settings` are pairs of an iteration and the changes from it on.
        before: the iteration up to which changes were made already.
        now: the present one.

    Raises:
        ConfigError: an entry is not such a pair.
    """
    found = []
    for entry in cfg.delayed_settings:
        good = isinstance(entry, list | tuple) and len(entry) == 2
        if not good or not isinstance(entry[0], int) or not isinstance(entry[1], dict):
            raise ConfigError(
                f"delayed_settings: expected pairs of an iteration and changes, got {entry!r}"
            )
        if before < entry[0] <= now:
            found.append((entry[0], entry[1]))
    return [changes for _, changes in sorted(found, key=lambda pair: pair[0])]
