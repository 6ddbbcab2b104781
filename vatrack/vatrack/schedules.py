"""The learning rate: steps by epoch, linear warm-up by iteration (spec 5.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """How the learning rate goes.

    Attributes:
        lr: before the first step.
        steps: epochs, from 0, at whose beginning it is multiplied by `gamma`.
        gamma: factor of a step.
        warmup_iters: iterations of the warm-up; 0: none.
        warmup_ratio: share of the rate at which the warm-up begins.
    """

    lr: float = 0.0025
    steps: Sequence[int] = (8, 11)
    gamma: float = 0.1
    warmup_iters: int = 0
    warmup_ratio: float = 0.1

    def at(self, iteration: int, iters_per_epoch: int) -> float:
        """The learning rate of an iteration.

        Args:
            iteration: from 0, over all epochs.
            iters_per_epoch: iterations of an epoch.
        """
        epoch = iteration // iters_per_epoch
        regular = self.lr * self.gamma ** sum(step <= epoch for step in self.steps)
        if iteration >= self.warmup_iters:
            return regular
        left = 1 - iteration / self.warmup_iters
        return regular * (1 - left * (1 - self.warmup_ratio))
