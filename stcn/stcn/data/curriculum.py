"""Frame-skip curriculum of the video stages (method specification section 6.6).

Training starts with neighbouring frames, goes on to ever larger jumps and ends with small ones
again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Largest jump at the start of a stage.
FIRST_JUMP = 5
#: Largest jumps that follow, and the share of the training after which each begins.
NEXT_JUMPS = (10, 15, 20, 25, 5)
NEXT_SHARES = (0.1, 0.2, 0.3, 0.4, 0.9)
#: BL30K (stage 1) returns to small jumps earlier.
NEXT_SHARES_STAGE_1 = (0.1, 0.2, 0.3, 0.4, 0.8)


@dataclass(frozen=True)
class SkipSchedule:
    """Which largest frame distance is in force in an epoch.

    Attributes:
        iterations: length of the whole training.
        loader_length: iterations of one epoch.
        shares: shares of the training after which the values of ``NEXT_JUMPS`` take over.
    """

    iterations: int
    loader_length: int
    shares: tuple[float, ...] = NEXT_SHARES

    def __post_init__(self) -> None:
        if self.loader_length < 1:
            raise ValueError("an epoch needs at least one iteration: the loader is empty")
        if len(self.shares) != len(NEXT_JUMPS):
            raise ValueError(f"shares: expected {len(NEXT_JUMPS)} values, got {len(self.shares)}")

    @property
    def num_epochs(self) -> int:
        """Epochs of the whole training, the last one possibly incomplete."""
        return math.ceil(self.iterations / self.loader_length)

    @property
    def change_epochs(self) -> tuple[int, ...]:
        """Epochs at whose start the values of ``NEXT_JUMPS`` take over."""
        return tuple(round(self.num_epochs * share) for share in self.shares)

    def start_epoch(self, iteration: int) -> int:
        """Return the epoch in which training goes on after ``iteration`` iterations."""
        return iteration // self.loader_length

    def max_jump(self, epoch: int) -> int:
        """Return the largest frame distance of ``epoch``, for videos annotated in every frame."""
        jump = FIRST_JUMP
        for change_epoch, next_jump in zip(self.change_epochs, NEXT_JUMPS, strict=True):
            if epoch >= change_epoch:
                jump = next_jump
        return jump


def skip_schedule(stage: int, iterations: int, loader_length: int) -> SkipSchedule:
    """Return the schedule of a video stage.

    Args:
        stage: 1 (BL30K), 2 or 3.
        iterations: length of the whole training.
        loader_length: iterations of one epoch.
    """
    if stage not in (1, 2, 3):
        raise ValueError(f"stage {stage} has no frame-skip curriculum (only 1, 2 and 3)")
    shares = NEXT_SHARES_STAGE_1 if stage == 1 else NEXT_SHARES
    return SkipSchedule(iterations, loader_length, shares)
