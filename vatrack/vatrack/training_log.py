"""What a training writes: lines of text and of JSON in the form of the original (spec 5.3)."""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vidseg_common.feed_meter import FeedMeter
from vidseg_common.logging import open_to_append


@dataclass(frozen=True)
class Progress:
    """Where a training is.

    Attributes:
        epoch: from 1.
        iteration: of the epoch, from 1.
        epoch_length: iterations of an epoch.
        left: iterations to the end of the training.
        rate: learning rate.
    """

    epoch: int
    iteration: int
    epoch_length: int
    left: int
    rate: float


class TrainingLog:
    """Console and log files of the first process; other processes stay silent.

    Args:
        folder: gets `<time>.log` and `<time>.log.json`; None writes no files.
        rank: number of this process.
        stream: of the console; None for the standard output of the moment.
    """

    def __init__(
        self, folder: Path | None, *, rank: int = 0, stream: IO[str] | None = None
    ) -> None:
        self._rank, self._stream = rank, stream
        self._files: list[IO[str]] = []
        if folder is not None and rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
            name = time.strftime("%Y%m%d_%H%M%S")
            self._files = [open_to_append(folder / f"{name}.{end}") for end in ("log", "log.json")]
        self._sums: dict[str, float] = {}
        self._count, self.feed = 0, FeedMeter()

    def session(self, facts: Mapping[str, Any]) -> None:
        """Notes how the training was started, as the first JSON line."""
        self._write_json(facts)

    def add(self, values: Mapping[str, float], *, elapsed: float, data_time: float) -> None:
        """Adds an iteration to the averages of the next line.

        Args:
            values: losses and accuracies.
            elapsed: seconds of the iteration.
            data_time: seconds of it that went by until the batch was there.
        """
        total = sum(value for name, value in values.items() if "loss" in name)
        times = {"time": elapsed, "data_time": data_time}
        for name, value in {**values, "loss": total, **times}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1

    def progress(self, place: Progress, memory: int | None = None) -> None:
        """Writes the averages since the last such line; nothing without any.

        Args:
            place: where the training is.
            memory: most megabytes that were used on the GPU; None on other devices.
        """
        if not self._count:
            return
        means = {name: value / self._count for name, value in self._sums.items()}
        self._sums, self._count = {}, 0
        seconds, data_time = means.pop("time"), means.pop("data_time")
        used = {} if memory is None else {"memory": memory}
        speed = self.feed.take()
        self.line(
            f"Epoch [{place.epoch}][{place.iteration}/{place.epoch_length}]\t"
            f"lr: {place.rate:.3e}, eta: {duration(seconds * place.left)}, time: {seconds:.3f}, "
            f"data_time: {data_time:.3f}, "
            + "".join(f"memory: {value}, " for value in used.values())
            + ", ".join(f"{name}: {value:.4f}" for name, value in means.items())
            + f", feed: {speed}"
        )
        numbers = {
            "lr": place.rate,
            **used,
            "data_time": data_time,
            "samples_per_s": speed.samples,
            **means,
            "time": seconds,
        }
        self._write_json(
            {"mode": "train", "epoch": place.epoch, "iter": place.iteration, **numbers}
        )

    def validation(self, numbers: Mapping[str, float], place: Progress) -> None:
        """Writes the scores of an evaluation."""
        shown = ", ".join(f"{name}: {value:.4f}" for name, value in numbers.items())
        self.line(f"Epoch(val) [{place.epoch}]\t{shown}")
        head = {"mode": "val", "epoch": place.epoch, "iter": place.iteration, "lr": place.rate}
        self._write_json({**head, **numbers})

    def line(self, message: str) -> None:
        """Shows a line, and notes it with the time."""
        if self._rank:
            return
        stream = self._stream or sys.stdout
        stream.write(f"{message}\n")
        stream.flush()
        if self._files:
            now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S,%f")[:-3]
            self._files[0].write(f"{now} - vatrack - INFO - {message}\n")
            self._files[0].flush()

    def close(self) -> None:
        """Closes the files."""
        for file in self._files:
            file.close()
        self._files = []

    def _write_json(self, record: Mapping[str, Any]) -> None:
        if self._files:
            plain = {name: _plain(value) for name, value in record.items()}
            self._files[1].write(json.dumps(plain, ensure_ascii=False, default=str) + "\n")
            self._files[1].flush()


def duration(seconds: float) -> str:
    """Seconds as "2 days, 3:04:05"."""
    return str(datetime.timedelta(seconds=round(seconds)))


def _plain(value: Any) -> Any:
    """Numbers rounded to five digits; JSON has none that are not finite, so these become text."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if abs(value) < float("inf") else str(value)
