"""What a training is given besides its configuration, and how it can end early (spec 7)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vidseg_common.errors import UserError


class NonFiniteLossError(UserError):
    """Loss or gradient became NaN or infinite; the message says where."""

    #: Exit status of the command.
    status = 1


class Interrupted(Exception):  # noqa: N818 - not an error: the training stopped as asked
    """Ctrl-C, SIGTERM or SIGUSR1 stopped the training after a whole step.

    Attributes:
        status: exit status of the command.
    """

    status = 1


@dataclass(frozen=True)
class TrainOptions:
    """What does not belong to the configuration.

    Attributes:
        amp: "off", "bf16" or "fp16".
        accumulate: backward passes of a step, each with `SOLVER.BATCH_SIZE` samples.
        checkpointing: keep less of the forward pass and compute it again (slower, less memory).
        backbone: file with ImageNet weights; None takes the usual one; "none" keeps random ones.
        deterministic: refuse operators without a deterministic form.
        log: write log files and curves.
    """

    amp: str = "off"
    accumulate: int = 1
    checkpointing: bool = False
    backbone: Path | None = None
    deterministic: bool = False
    log: bool = True
