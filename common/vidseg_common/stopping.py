"""Stopping a run in good order: signals, and what several processes agree on."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
import torch.distributed as dist

from vidseg_common.distributed import DistInfo

#: Environment variable with the path of a file that, once it is there, stands for SIGUSR1: cluster
#: scripts use it, because launchers between them and the training do not hand signals on.
STOP_FILE = "VIDSEG_STOP_FILE"


class StopSignals:
    """Context manager that turns Ctrl-C, SIGTERM and SIGUSR1 into a wish to stop.

    The run looks at `number` where it can stop. A second Ctrl-C raises KeyboardInterrupt at
    once. Outside the main thread, where Python allows no handlers, only the file counts.
    """

    CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

    def __init__(self) -> None:
        self._number = 0
        self._previous: dict[signal.Signals, object] = {}
        name = os.environ.get(STOP_FILE)
        self._file = Path(name) if name else None

    @property
    def number(self) -> int:
        """The signal that came, 0 for none."""
        if not self._number and self._file is not None and self._file.exists():
            return signal.SIGUSR1
        return self._number

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._previous = {n: signal.signal(n, self._note) for n in self.CAUGHT}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # came from signal.signal

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self._number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._number = number


class Agreement:
    """Lets the processes of a run take the same way out in the same iteration.

    A process that stopped alone would leave the others waiting in their next collective call.
    Numbers go over gloo, also beside nccl: no process has to wait for its device.

    Args:
        info: place of this process.
    """

    def __init__(self, info: DistInfo) -> None:
        self._alone = info.world_size == 1
        self._group: Any = None  # the default group
        if not self._alone and info.backend != "gloo":
            self._group = dist.new_group(backend="gloo")

    def highest(self, value: int) -> int:
        """The largest value of all processes; each must call it equally often."""
        if self._alone:
            return value
        shared = torch.tensor([value])
        dist.all_reduce(shared, op=dist.ReduceOp.MAX, group=self._group)
        return int(shared)
