"""What a training is given besides its configuration, and how it can end early (spec 10.3-10.5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from stmask.feed import DEFAULT_SEED
from stmask.schedules import DEFAULT_RATE
from vidseg_common.errors import UserError

#: Steps in a row without a finite loss after which a training is given up.
PATIENCE = 50


class NonFiniteLossError(UserError):
    """The loss stayed NaN or infinite; the message says where."""


class Interrupted(Exception):  # noqa: N818 - not an error: the training stopped as asked
    """Ctrl-C, SIGTERM or SIGUSR1 stopped the training after a whole iteration.

    Attributes:
        status: exit status of the command.
    """

    status = 1


@dataclass(frozen=True)
class Start:
    """What a training begins with.

    Attributes:
        weights: a COCO detector or an ImageNet backbone; None starts from random weights.
        resume: checkpoint to continue; `weights` is not used then.
        iteration: with `resume`, the iteration to go on at; None takes that of the file.
    """

    weights: Path | None = None
    resume: Path | None = None
    iteration: int | None = None


@dataclass(frozen=True)
class Saving:
    """When checkpoints are written and which stay.

    Attributes:
        interval: iterations per checkpoint.
        from_epoch: the first epoch with regular checkpoints.
        keep_latest: a new one replaces the one before ...
        keep_latest_interval: ... except where its iteration is a multiple of this.
        on_interrupt: save when the training is stopped.
    """

    interval: int = 10_000
    from_epoch: int = 0
    keep_latest: bool = False
    keep_latest_interval: int = 100_000
    on_interrupt: bool = True


@dataclass(frozen=True)
class TrainOptions:
    """What does not belong to the configuration.

    Attributes:
        batch_size: clips of a step, over all processes.
        batch_alloc: clips of every share of a step; None: one share a process.
        start: weights, or a checkpoint to continue.
        saving: see there.
        rate: learning rate after the warm-up.
        momentum: of SGD.
        decay: weight decay.
        gamma: factor of the rate at each step; None takes the configuration's.
        train_bn: batch norm is trained; otherwise it is frozen.
        amp: "off", "bf16" or "fp16".
        num_workers: loader processes per training process.
        seed: of everything.
        deterministic: refuse operators without a deterministic form.
        log: write the log files.
        log_gpu: list the GPUs in the log.
        arguments: what the command was given, for the log.
    """

    batch_size: int = 8
    batch_alloc: tuple[int, ...] | None = None
    start: Start = field(default_factory=Start)
    saving: Saving = field(default_factory=Saving)
    rate: float = DEFAULT_RATE
    momentum: float = 0.9
    decay: float = 1e-4
    gamma: float | None = None
    train_bn: bool = False
    amp: str = "off"
    num_workers: int = 2
    seed: int = DEFAULT_SEED
    deterministic: bool = False
    log: bool = True
    log_gpu: bool = False
    arguments: dict[str, object] = field(default_factory=dict)
