"""Stopping a training in good order: signals, and what several processes agree on."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
import torch.distributed as dist

from vidseg_common.distributed import DistInfo

#: A shell reports a process that left because of signal n as this + n.
SIGNAL_STATUS_BASE = 128


class Interrupted(Exception):  # noqa: N818 - not an error: the training stopped as asked
    """Ctrl-C or SIGTERM stopped the training after a whole iteration.

    Args:
        number: of the signal.
        iteration: iterations done.
        saved: the file to resume from, None when nothing was to be saved.
    """

    def __init__(self, number: int, iteration: int, saved: Path | None) -> None:
        name = signal.Signals(number).name
        kept = f"continue with --load_model {saved}" if saved else "nothing was saved"
        super().__init__(f"stopped by {name} after {iteration} iterations; {kept}")
        self.saved = saved
        self.status = SIGNAL_STATUS_BASE + number


class StopSignals:
    """Context manager that turns Ctrl-C and SIGTERM into a wish to stop.

    The training looks at `number` between iterations. A second Ctrl-C raises KeyboardInterrupt at
    once. Outside the main thread, where Python allows no handlers, it changes nothing.

    Attributes:
        number: the signal that came, 0 for none.
    """

    CAUGHT = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.number = 0
        self._previous: dict[signal.Signals, object] = {}

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
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number


class Agreement:
    """Lets the processes of a training take the same way out in the same iteration.

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
