"""What a training reports: console lines, log file, TensorBoard, Visdom (spec 7.3)."""

from __future__ import annotations

import statistics
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import torch

from devis.losses import LossSettings
from devis.parameter_groups import Group
from devis.training_step import TOTAL
from devis.visdom_curves import ITERATIONS, LOSSES, SCORES, Curves
from vidseg_common.feed_meter import FeedMeter
from vidseg_common.logging import RunLogger

#: Values over which the console shows the median.
WINDOW = 20
#: Name of the log file and of the folder of event files.
LOG = "log"
UNSCALED = "_unscaled"


class Meter:
    """A value over time: the median of the last ones, and the mean of all of an epoch."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=WINDOW)
        self._sum, self._count = 0.0, 0

    def add(self, value: float) -> None:
        """Adds a value."""
        self._last.append(value)
        self._sum += value
        self._count += 1

    @property
    def median(self) -> float:
        """Of the last values."""
        return statistics.median_low(self._last)

    @property
    def mean(self) -> float:
        """Of all values."""
        return self._sum / max(self._count, 1)


class Meters:
    """The values of an epoch."""

    def __init__(self) -> None:
        self._meters: dict[str, Meter] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """Adds the values of a step."""
        for name, value in values.items():
            self._meters.setdefault(name, Meter()).add(value)

    def means(self) -> dict[str, float]:
        """Name to mean over the epoch."""
        return {name: meter.mean for name, meter in self._meters.items()}

    def medians(self) -> dict[str, float]:
        """Name to median of the last values."""
        return {name: meter.median for name, meter in self._meters.items()}

    def text(self) -> str:
        """`name: median (mean)` of all, but times."""
        return "  ".join(
            f"{name}: {meter.median:.4g} ({meter.mean:.4g})"
            for name, meter in self._meters.items()
            if name not in ("time", "data")
        )


def shown_values(
    losses: Mapping[str, float], settings: LossSettings, rates: Mapping[str, float]
) -> dict[str, float]:
    """What is reported of a step: total, scaled terms, unscaled ones, rates.

    Args:
        losses: of `TrainingStep`, means over the processes.
        settings: with the weights of the terms.
        rates: name of a group to its learning rate.
    """
    weights = settings.weights()
    values = {TOTAL: losses[TOTAL], "class_error": losses["class_error"]}
    values |= {name: losses[name] * weight for name, weight in weights.items()}
    values |= {f"{name}{UNSCALED}": losses[name] for name in weights}
    return values | {f"lr_{name}": rate for name, rate in rates.items()}


class TrainingLog:
    """Console, log file and curves of the first process; other processes stay silent.

    Args:
        folder: of the training; None writes no files.
        rank: number of this process.
        interval: steps between console lines and points of curves.
        stream: of the console; default: standard output.
    """

    def __init__(
        self, folder: Path | None, *, rank: int, interval: int, stream: IO[str] | None = None
    ) -> None:
        self._rank, self._stream, self.interval = rank, stream, max(interval, 1)
        self.meters, self.feed = Meters(), FeedMeter()
        self.curves: Curves | None = None
        writes = folder is not None and rank == 0
        self._events = RunLogger(folder, LOG, console=False, rank=rank) if writes else None
        self._started = time.perf_counter()

    def start_epoch(self) -> None:
        """Begins new means."""
        self.meters = Meters()

    def step(
        self,
        values: Mapping[str, float],
        *,
        epoch: int,
        place: int,
        length: int,
        iteration: int,
        processes: int = 1,
    ) -> None:
        """Notes a step, and shows it when it is its turn.

        Args:
            values: of `shown_values`, and the seconds "time" and "data".
            epoch: from 1.
            place: of the step in the epoch, from 0.
            length: steps of an epoch.
            iteration: steps done since the training began.
            processes: number of them; their samples are what the Visdom curves count.
        """
        self.meters.add(values)
        last = place == length - 1
        if place % self.interval and not last:
            return
        line = progress_line(self.meters, epoch, place, length)
        self.line(f"{line}  feed: {self.feed.take()}")
        points = self.meters.medians()
        if self._events is not None:
            self._events.scalars({f"train/{k}": v for k, v in points.items()}, iteration)
        if self.curves is not None:
            points |= {"iter_time": points.get("time", 0.0)}
            self.curves.add(ITERATIONS, (iteration - 1) * processes, points)

    def validation(self, numbers: Mapping[str, float], epoch: int) -> None:
        """Notes scores and losses of an evaluation."""
        if self._events is not None and numbers:
            self._events.scalars({f"val/{k}": v for k, v in numbers.items()}, epoch)
        if self.curves is not None and numbers:
            self.curves.add(LOSSES, epoch, numbers)
            self.curves.add(SCORES, epoch, numbers)

    def line(self, message: str) -> None:
        """Shows a line."""
        if self._rank == 0:
            stream = self._stream or sys.stdout
            stream.write(f"{message}\n")
            stream.flush()

    def close(self) -> None:
        """Closes the files."""
        if self._events is not None:
            self._events.close()


def group_rates(groups: list[Group], optimiser: torch.optim.Optimizer) -> dict[str, float]:
    """Name of every group to its present learning rate."""
    pairs = zip(groups, optimiser.param_groups, strict=True)
    return {group.name: float(entry["lr"]) for group, entry in pairs}


def progress_line(meters: Meters, epoch: int, place: int, length: int) -> str:
    """`Epoch: [e]  [i/n]  eta: h:mm:ss  name: median (mean) ...  time  data  max mem`.

    Args:
        meters: of the epoch.
        epoch: from 1.
        place: of the step, from 0.
        length: steps of an epoch.
    """
    means, now = meters.means(), meters.medians()
    seconds = means.get("time", 0.0)
    left = duration(seconds * (length - place - 1))
    width = len(str(length))
    parts = [
        f"Epoch: [{epoch}]",
        f"[{place:{width}d}/{length}]",
        f"eta: {left}",
        meters.text(),
        f"time: {now.get('time', 0.0):.4f}",
        f"data: {now.get('data', 0.0):.4f}",
    ]
    if torch.cuda.is_available():
        parts.append(f"max mem: {torch.cuda.max_memory_allocated() / 2**20:.0f}")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"
