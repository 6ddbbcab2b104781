"""How a training that was told to stop leaves."""

from __future__ import annotations

import signal
from pathlib import Path

#: A shell reports a process that left because of signal n as this + n.
SIGNAL_STATUS_BASE = 128


class Interrupted(Exception):  # noqa: N818 - not an error: the training stopped as asked
    """Ctrl-C, SIGTERM or SIGUSR1 stopped the training after a whole iteration.

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
