"""Independent jobs shared between this process and forked copies of it.

A copy inherits all that the jobs need, so that nothing is sent to it, and this process works as
well instead of waiting: a second worker costs about a millisecond, little even for small sets.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from tqdm import tqdm

__all__ = ["can_fork", "share_jobs"]

Job = TypeVar("Job")
Result = TypeVar("Result")

_TICKET = 4  # bytes
_MOST_TICKETS = (1 << 12) // _TICKET  # fit into any pipe


def can_fork() -> bool:
    """Tells whether the system can copy a process."""
    return "fork" in multiprocessing.get_all_start_methods()


def share_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    sizes: Sequence[int],
    *,
    workers: int = 1,
    progress: bool = False,
    unit: str = "frame",
) -> list[Result]:
    """Applies a function to every job and returns the results in the order of the jobs.

    Args:
        function: what to do; it needs no name and may hold on to anything.
        jobs: its arguments, one each, asked for when it is their turn. They start in this order.
        sizes: amount of work of each job in `unit`.
        workers: number of processes, this one included.
        progress: show a bar on stderr.
        unit: what the bar counts.

    Raises:
        ValueError: fewer than one worker.
        RuntimeError: a process was ended by something else, such as a lack of memory.
        Exception: whatever the function raised; jobs not yet started are dropped.
    """
    if workers < 1:
        raise ValueError(f"the number of workers must be 1 or more, not {workers}")
    with tqdm(total=sum(sizes), unit=unit, disable=not progress, leave=False) as bar:
        share = _Share(function, jobs, sizes, bar)
        # All copies before the first thread, whose locks a copy would never see released.
        with _out_of_sight_of_gc():
            copies = [share.start_copy() for _ in range(min(workers, len(jobs)) - 1)]
        threads = [threading.Thread(target=share.receive, args=copy) for copy in copies]
        try:
            for thread in threads:
                thread.start()
            for index in share.draw():
                share.take(index, function(jobs[index]))
        finally:
            share.drop()
            for thread in threads:
                thread.join()
            share.close()
    return share.results()


@contextlib.contextmanager
def _out_of_sight_of_gc() -> Iterator[None]:
    """Lets copies collect their own garbage only: a look at what is shared makes a copy of it."""
    is_free = not gc.get_freeze_count()
    if is_free:
        gc.freeze()
    try:
        yield
    finally:
        if is_free:
            gc.unfreeze()


class _Share:
    """The jobs, of which every process draws the next, and what came of them.

    Args:
        function: what to do.
        jobs: its arguments.
        sizes: amounts of work.
        bar: told of every job that is done.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        jobs: Sequence[Any],
        sizes: Sequence[int],
        bar: tqdm[Any],
    ) -> None:
        self._function, self._jobs, self._sizes, self._bar = function, jobs, sizes, bar
        self._lock = threading.Lock()
        self._done: dict[int, Any] = {}
        self._errors: list[Exception] = []
        # Tickets in a pipe: whoever reads one has its jobs, from a number on. A read of so few
        # bytes gets all of them or none.
        self._step = len(jobs) // _MOST_TICKETS + 1
        self._source, sink = os.pipe()
        firsts = range(0, len(jobs), self._step)
        os.write(sink, b"".join(first.to_bytes(_TICKET, "little") for first in firsts))
        os.close(sink)

    def draw(self) -> Iterator[int]:
        """Draws numbers of jobs until none is left."""
        while ticket := os.read(self._source, _TICKET):
            first = int.from_bytes(ticket, "little")
            yield from range(first, min(first + self._step, len(self._jobs)))

    def drop(self) -> None:
        """Takes all tickets that are left, so that no process starts another job."""
        while os.read(self._source, _TICKET):
            pass

    def take(self, index: int, result: Any) -> None:
        """Keeps the result of a job."""
        with self._lock:
            self._done[index] = result
            self._bar.update(self._sizes[index])

    def start_copy(self) -> tuple[Connection, BaseProcess]:
        """Starts a copy of this process, and tells from where to receive its results."""
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=self._work, args=(sender,))
        with warnings.catch_warnings():
            # Python warns about forking beside threads. A copy reads files, counts and returns, as
            # the workers of a torch DataLoader do, and touches no lock of another thread.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        sender.close()
        return receiver, process

    def receive(self, receiver: Connection, process: BaseProcess) -> None:
        """Keeps what a copy sends until it ends."""
        with receiver:
            while True:
                try:
                    index, *found = receiver.recv()
                except EOFError:
                    break
                if index is None:
                    found[0].__cause__ = RuntimeError(f"in another process:\n{found[1]}")
                    self._errors.append(found[0])
                else:
                    self.take(index, found[0])
        process.join()

    def close(self) -> None:
        """Gives the pipe back."""
        os.close(self._source)

    def results(self) -> list[Any]:
        """The results in order; raises what a copy of this process met with."""
        if self._errors:
            raise self._errors[0]
        if len(self._done) < len(self._jobs):
            raise RuntimeError("a process that shares the work has ended early; out of memory?")
        return [self._done[index] for index in range(len(self._jobs))]

    def _work(self, sender: Connection) -> None:
        """What a copy does: the same as the process itself, but results and errors are sent."""
        try:
            for index in self.draw():
                sender.send((index, self._function(self._jobs[index])))
        except Exception as error:
            self.drop()
            sender.send((None, error, traceback.format_exc()))
        sender.close()
