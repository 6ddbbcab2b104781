"""What a training reports: console lines, the log file, curves (spec 10.6)."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from vidseg_common.feed_meter import FeedMeter
from vidseg_common.logging import RunLogger, open_to_append, read_jsonl

#: Iterations per console line and per point of the curves.
INTERVAL = 10
#: Iterations over which the console averages.
WINDOW = 100
#: Folder of the event files in that of the checkpoints.
EVENTS = "train_log"
_TOTAL = "Total"


class Averages:
    """Means over the last iterations."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._values: dict[str, deque[float]] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """Adds the values of an iteration."""
        for name, value in values.items():
            self._values.setdefault(name, deque(maxlen=self._window)).append(value)

    def reset(self) -> None:
        """Forgets everything, such as when losses change their meaning."""
        self._values.clear()

    def means(self) -> dict[str, float]:
        """Name to mean, in the order in which names came."""
        return {name: sum(values) / len(values) for name, values in self._values.items()}


class JsonLog:
    """The log file: a line with every session, then one per iteration and per validation.

    Args:
        path: of the file; a later session goes on in it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        numbers = (record.get("session") for record in read_jsonl(path))
        self.session = max((n for n in numbers if isinstance(n, int)), default=-1) + 1
        self._file: IO[str] = open_to_append(path)

    def write(self, kind: str, data: Mapping[str, Any]) -> None:
        """Appends a record and flushes it."""
        record = {"type": kind, "session": self.session, "data": data, "time": time.time()}
        self._file.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class TrainingLog:
    """Console, log file and curves of the first process; of others their warnings.

    Args:
        folder: of the checkpoints; None writes no files.
        name: of the configuration, and so of the log file.
        rank: number of this process.
        stream: of the console; default: standard output.
    """

    def __init__(
        self, folder: Path | None, name: str, *, rank: int = 0, stream: IO[str] | None = None
    ) -> None:
        self._rank, self._stream = rank, stream
        self.averages, self.feed = Averages(), FeedMeter()
        writes = folder is not None and rank == 0
        self._json = JsonLog(folder / f"{name}.log") if writes and folder else None
        self._events = (
            RunLogger(folder / EVENTS, name, console=False) if writes and folder else None
        )

    def session(self, arguments: Mapping[str, Any], gpus: list[str] | None = None) -> None:
        """Notes the start of a session.

        Args:
            arguments: what the command was given.
            gpus: names of the GPUs; None leaves them out.
        """
        if self._json is not None:
            extra = {} if gpus is None else {"gpus": gpus}
            self._json.write("session", {**arguments, **extra})

    def iteration(
        self,
        losses: Mapping[str, float],
        *,
        epoch: int,
        iteration: int,
        rate: float,
        elapsed: float,
    ) -> None:
        """Notes an iteration.

        Args:
            losses: in the order of printing, without their sum.
            epoch: from 0.
            iteration: number of iterations that are done with it.
            rate: learning rate.
            elapsed: seconds that it took.
        """
        values = {**losses, _TOTAL: sum(losses.values())}
        self.averages.add(values | {"elapsed": elapsed})
        if self._json is not None:
            data = {
                "loss": {key: _finite(value, 5) for key, value in values.items()},
                "epoch": epoch,
                "iter": iteration,
                "lr": round(rate, 10),
                "elapsed": round(elapsed, 5),
            }
            self._json.write("train", data)
        if self._events is not None and iteration % INTERVAL == 0:
            points = {f"train/{key}": value for key, value in values.items()}
            self._events.scalars(points | {"train/lr": rate}, iteration)

    def progress(self, epoch: int, iteration: int, total: int) -> None:
        """Shows the console line of an iteration, from averages.

        Args:
            epoch: from 0.
            iteration: number of iterations that are done.
            total: iterations of the whole training.
        """
        line = progress_line(self.averages.means(), epoch, iteration, total)
        self.line(f"{line} || data: {self.feed.take()}")

    def validation(self, numbers: Mapping[str, float], iteration: int) -> None:
        """Notes the scores of a validation."""
        if self._json is not None:
            scores = {key: _finite(value, 5) for key, value in numbers.items()}
            self._json.write("val", {"iter": iteration, **scores})
        if self._events is not None:
            self._events.scalars({f"valid/{k}": v for k, v in numbers.items()}, iteration)

    def line(self, message: str) -> None:
        """Shows a line; other processes than the first stay silent."""
        if self._rank == 0:
            stream = self._stream or sys.stdout
            stream.write(f"{message}\n")
            stream.flush()

    def close(self) -> None:
        """Closes the files."""
        if self._json is not None:
            self._json.close()
        if self._events is not None:
            self._events.close()


def progress_line(means: Mapping[str, float], epoch: int, iteration: int, total: int) -> str:
    """`[epoch] iteration || KEY: value | ... Total: value || ETA: h:mm:ss || timer: seconds`.

    Args:
        means: of the losses, their sum and the seconds of an iteration ("elapsed").
        epoch: from 0.
        iteration: number of iterations that are done.
        total: iterations of the whole training.
    """
    losses = {k: v for k, v in means.items() if k not in (_TOTAL, "elapsed")}
    parts = "".join(f" {name}: {value:.3f} |" for name, value in losses.items())
    seconds = means.get("elapsed", 0.0)
    left = duration(seconds * max(0, total - iteration))
    return (
        f"[{epoch:3d}] {iteration:7d} ||{parts} {_TOTAL}: {means.get(_TOTAL, 0.0):.3f} || "
        f"ETA: {left} || timer: {seconds:.3f}"
    )


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"


def _finite(value: float, digits: int) -> float | str:
    """A rounded number; JSON has no others than finite ones, so these become text."""
    return round(value, digits) if abs(value) < float("inf") else str(value)
