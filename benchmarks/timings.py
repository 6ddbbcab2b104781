"""Wall and processor time of several forms of one computation, for the benchmarks of metrics."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Result = TypeVar("Result")


def cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, kinds))


@dataclass
class Timing(Generic[Result]):
    """Wall and processor seconds of every run, and what every run returned."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)


def time_forms(
    forms: Mapping[str, Callable[[], Result]], repeat: int, seconds: float = 0.0
) -> dict[str, Timing[Result]]:
    """Runs all forms by turns, several times; the best run of each counts.

    By turns, because others may use the machine too, and more at one time than at another.

    Args:
        forms: what to run, by name.
        repeat: the fewest runs of each.
        seconds: runs go on until these have passed, so that short ones are repeated more often.
    """
    timings: dict[str, Timing[Result]] = {name: Timing() for name in forms}
    rounds, began = 0, time.perf_counter()
    while rounds < repeat or time.perf_counter() - began < seconds:
        rounds += 1
        for name, form in forms.items():
            start, cpu_start = time.perf_counter(), cpu_seconds()
            result = form()
            timings[name].wall.append(time.perf_counter() - start)
            timings[name].cpu.append(cpu_seconds() - cpu_start)
            timings[name].results.append(result)
    return timings
