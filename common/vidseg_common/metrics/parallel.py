"""Independent jobs in several processes, largest first, with one progress bar."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import TypeVar

from tqdm import tqdm

Job = TypeVar("Job")
Result = TypeVar("Result")
Item = TypeVar("Item")

_FEWEST_ITEMS = 8
_MOST_ITEMS = 64
_CHUNKS_PER_WORKER = 6


def available_cpus() -> int:
    """Number of processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def positive_int(text: str) -> int:
    """Type of a command-line flag that counts workers.

    Raises:
        argparse.ArgumentTypeError: not a whole number of 1 or more.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of 1 or more, not {text!r}")
    return int(text)


def split_items(items: Sequence[Item], total: int, workers: int) -> list[Sequence[Item]]:
    """Cuts a list into chunks small enough that all workers are busy to the end.

    Args:
        items: what one sequence has to do.
        total: number of items of all sequences together.
        workers: number of processes.
    """
    wanted = total // (max(workers, 1) * _CHUNKS_PER_WORKER)
    length = min(max(wanted, _FEWEST_ITEMS), _MOST_ITEMS)
    return [items[start : start + length] for start in range(0, len(items), length)]


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    sizes: Sequence[int],
    *,
    workers: int = 1,
    progress: bool = True,
    unit: str = "frame",
) -> list[Result]:
    """Applies a function to every job and returns the results in the order of the jobs.

    Args:
        function: a function of a module, so that another process can find it.
        jobs: its arguments, one each.
        sizes: amount of work of each job in `unit`; large jobs start first.
        workers: number of processes; 1 works in this one.
        progress: shows a bar on stderr.
        unit: what the bar counts.

    Raises:
        ValueError: fewer than one worker.
        Exception: whatever the function raised; jobs not yet started are dropped.
    """
    if workers < 1:
        raise ValueError(f"the number of workers must be 1 or more, not {workers}")
    with tqdm(total=sum(sizes), unit=unit, disable=not progress, leave=False) as bar:
        if min(workers, len(jobs)) <= 1:
            return [
                _run_one(function, job, size, bar) for job, size in zip(jobs, sizes, strict=True)
            ]
        return _run_pool(function, jobs, sizes, min(workers, len(jobs)), bar)


def _run_one(function: Callable[[Job], Result], job: Job, size: int, bar: tqdm) -> Result:
    result = function(job)
    bar.update(size)
    return result


def _run_pool(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    sizes: Sequence[int],
    workers: int,
    bar: tqdm,
) -> list[Result]:
    order = sorted(range(len(jobs)), key=lambda index: -sizes[index])
    pool = ProcessPoolExecutor(workers, mp_context=_context())
    futures: dict[Future[Result], int] = {}
    try:
        with warnings.catch_warnings():
            # Python warns about forking beside threads. The children only read files, count and
            # return, as the workers of a torch DataLoader, and touch no lock of another thread.
            warnings.simplefilter("ignore", DeprecationWarning)
            for index in order:
                futures[pool.submit(function, jobs[index])] = index
        results: dict[int, Result] = {}
        for future in as_completed(futures):
            results[futures[future]] = future.result()
            bar.update(sizes[futures[future]])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [results[index] for index in range(len(jobs))]


def _context() -> multiprocessing.context.BaseContext:
    """Forks where possible: a fresh interpreter would first import the caller's script again."""
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("fork" if "fork" in methods else None)
