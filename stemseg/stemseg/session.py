"""What a training is given besides its configuration, and how it can end early (spec 5.2, 7.9)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from stemseg.feed import DEFAULT_SEED
from vidseg_common.errors import UserError


class NonFiniteLossError(UserError):
    """A loss became NaN or infinite; the message says where."""


class Interrupted(Exception):  # noqa: N818 - not an error: the training stopped as asked
    """Ctrl-C, SIGTERM or SIGUSR1 stopped the training after a whole iteration.

    Attributes:
        status: exit status, that of the original tool.
    """

    status = 1


@dataclass(frozen=True)
class Start:
    """What a training begins with; at most one is given.

    Attributes:
        backbone: file of a pre-trained backbone.
        weights: file of a whole network (`--initial_ckpt`).
        session: checkpoint to continue (`--restore_session`).
    """

    backbone: Path | None = None
    weights: Path | None = None
    session: Path | None = None


@dataclass(frozen=True)
class TrainOptions:
    """What does not belong to the configuration.

    Attributes:
        start: weights, or a checkpoint to continue.
        display_interval: iterations per console line.
        summary_interval: iterations per point of the curves.
        save_interval: iterations per checkpoint.
        ckpts_to_keep: newest checkpoints that stay; 0 keeps all.
        num_workers: loader processes per training process.
        log_level: of the console, a name of `training_log.LEVELS`.
        amp: with TRAINING.MIXED_PRECISION: "auto" (fp16 on a GPU as published, bf16 on a CPU),
            "bf16" or "fp16".
        seed: of everything.
        deterministic: refuse operators without a deterministic form.
    """

    start: Start = field(default_factory=Start)
    display_interval: int = 5
    summary_interval: int = 10
    save_interval: int = 10_000
    ckpts_to_keep: int = 2
    num_workers: int = 8
    log_level: str = "info"
    amp: str = "auto"
    seed: int = DEFAULT_SEED
    deterministic: bool = False
