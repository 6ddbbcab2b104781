"""What a training is given besides its settings, and how it can end early."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vatrack.losses.batch import PairSample
from vatrack.losses.settings import LossSettings
from vatrack.model.network import VATrackNet
from vatrack.model.settings import ModelSettings
from vatrack.train_settings import TrainSettings
from vidseg_common.errors import UserError
from vidseg_common.training_feed import SampleKey

#: Steps in a row without a finite loss after which a training is given up.
PATIENCE = 50

#: Scores the network of a checkpoint, a name to a number each.
Validation = Callable[[VATrackNet, Path], Mapping[str, float]]


class NonFiniteLossError(UserError):
    """The loss stayed NaN or infinite; the message says where."""


class Interrupted(Exception):  # noqa: N818 - not an error: the training stopped as asked
    """Ctrl-C, SIGTERM or SIGUSR1 stopped the training after a whole iteration.

    Attributes:
        status: exit status of the command.
    """

    status = 1


class PairData(Protocol):
    """What a training reads."""

    @property
    def groups(self) -> NDArray[np.int64]:
        """Of every item; pairs of one batch are of one group."""

    def __len__(self) -> int:
        """Number of key frames."""

    def __getitem__(self, key: SampleKey) -> PairSample:
        """The pair of a key frame; the key's seed decides all that is random."""


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes:
        model: network.
        losses: and how boxes are chosen.
        training: schedule, batches, saves and starts; its `seed` is set.
        config: the whole configuration as text, for checkpoints.
        classes: names, for checkpoints.
    """

    model: ModelSettings
    losses: LossSettings
    training: TrainSettings
    config: str = ""
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunOptions:
    """How this run of the training is made.

    Attributes:
        amp: "off", "bf16", "fp16"; None follows the configuration.
        deterministic: refuse operators without a deterministic form.
        max_iters: stop after so many iterations of the whole training; None: at its end.
        facts: how the command was started, for the log.
    """

    amp: str | None = None
    deterministic: bool = False
    max_iters: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
