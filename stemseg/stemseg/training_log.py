"""What a training reports: console lines, curves, the time that is left (spec section 7.9)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from vidseg_common.feed_meter import FeedMeter
from vidseg_common.logging import RunLogger

VERBOSE = ("debug", "verbose")
#: Levels by name, the ones of the original tool; a message shows from its level on.
LEVELS = {
    **dict.fromkeys(VERBOSE, 10),
    **dict.fromkeys(("info", "normal"), 20),
    "warn": 30,
    "error": 40,
    **dict.fromkeys(("critical", "fatal"), 50),
    "off": 100,
}
#: Losses on the console, in order.
SHORT_NAMES = {
    "embedding_loss": "EmbL",
    "semantic_segmentation_loss": "SegL",
    "foreground": "FgL",
    "lovasz_loss": "LovL",
    "variance_smoothness_loss": "VarS",
    "seediness_loss": "SeedL",
}
RUN_NAME = "training"


class Clock:
    """Time spent on a training, pauses between its sessions left out.

    Args:
        total_iterations: iterations of the whole training.
        now: gives seconds.
    """

    def __init__(self, total_iterations: int, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.total_iterations = total_iterations
        self.start_time = self.latest_timestamp = now()
        self.latest_iteration = 0
        self.pause = 0.0

    def tick(self, iteration: int) -> None:
        """Notes that an iteration is done; cheap."""
        self.latest_iteration, self.latest_timestamp = iteration, self._now()

    def seconds_per_iteration(self) -> float:
        """Mean over all sessions; 0 before the first iteration."""
        spent = self.latest_timestamp - self.start_time - self.pause
        return max(0.0, spent) / self.latest_iteration if self.latest_iteration else 0.0

    def remaining(self) -> float:
        """Seconds that the rest will take at the mean speed."""
        left = max(0, self.total_iterations - self.latest_iteration)
        return left * self.seconds_per_iteration()

    def state_dict(self) -> dict[str, float]:
        """What a later session needs."""
        return {
            "total_iterations": self.total_iterations,
            "start_time": self.start_time,
            "latest_timestamp": self.latest_timestamp,
            "latest_iteration": self.latest_iteration,
            "pause": self.pause,
        }

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Goes on after a pause that lasted until now; the total stays that of this session."""
        self.start_time = float(state["start_time"])
        self.latest_iteration = int(state["latest_iteration"])
        self.pause = float(state["pause"]) + self._now() - float(state["latest_timestamp"])
        self.latest_timestamp = self._now()


def duration(seconds: float) -> str:
    """Seconds as d-hh:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    return f"{day}-{hour:02d}:{minute:02d}:{second:02d}"


def progress_line(losses: Mapping[str, float], rate: float, clock: Clock) -> str:
    """The console line of an iteration; losses that the model lacks are left out.

    Args:
        losses: by their long names.
        rate: learning rate.
        clock: at this iteration.
    """
    parts = [f"It: {clock.latest_iteration:05d}"]
    parts += [f"{short}: {losses[n]:.3f}" for n, short in SHORT_NAMES.items() if n in losses]
    parts += [f"LR: {rate:.2e}", f"ETA: {duration(clock.remaining())}"]
    return " - ".join([*parts, f"sec/it: {clock.seconds_per_iteration():.3f}"])


class TrainingLog:
    """Console of every process by its level; files of the first one.

    Args:
        folder: of the event and JSONL files; None writes none.
        level: a name of `LEVELS`.
        rank: number of this process; lines of others than 0 say theirs.
        stream: of the console; default: standard output.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        level: str = "info",
        rank: int = 0,
        stream: IO[str] | None = None,
    ) -> None:
        self._threshold, self.feed = LEVELS[level], FeedMeter()
        self._prefix = f"process {rank}: " if rank else ""
        self._stream = stream
        self._files = RunLogger(folder, RUN_NAME, console=False, rank=rank)

    def line(self, message: str, level: str = "info") -> None:
        """Shows a line, and keeps it in the JSONL file."""
        self._files.line(message)
        if LEVELS[level] >= self._threshold:
            stream = self._stream or sys.stdout
            stream.write(f"{self._prefix}{message}\n")
            stream.flush()

    def losses(self, values: Mapping[str, float], rate: float, iteration: int) -> None:
        """Adds a point to the curves."""
        curves: dict[str, Any] = {f"training_{name}": value for name, value in values.items()}
        self._files.scalars(curves | {"training_lr": rate}, iteration)

    def text(self, name: str, text: str, iteration: int = 0) -> None:
        """Keeps a text, for example the configuration."""
        self._files.text(name, text, iteration)

    def close(self) -> None:
        """Closes the files."""
        self._files.close()
