"""One run in pieces: every job runs a shard of the sequences, then all results are put together.

A command runs shard I of N with the flags `--num-shards N --shard I`, in a folder of its own beside
the results: `TARGET_shards/I-of-N`. Its `shard.json` says what was to be run and whether it is
finished. The same command with `--num-shards N --merge` checks all shards and makes of them what a
run of everything would have written.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from vidseg_common.commands.common import say
from vidseg_common.datasets.json_stream import ROOT, iter_items
from vidseg_common.errors import UserError, list_problems
from vidseg_common.files import OutputLock, atomic_path, check_writable, write_json
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.settings import changes

PLAN_FILE = "shard.json"
_FINISHED = "finished"


@dataclass(frozen=True)
class Sharding:
    """What the flags ask for.

    Attributes:
        count: number of shards.
        index: the shard to run, from 0; None puts all of them together.
    """

    count: int
    index: int | None

    @property
    def is_merge(self) -> bool:
        """Whether shards are put together."""
        return self.index is None


def add_shard_flags(
    parser: argparse.ArgumentParser,
    what: str = "sequences",
    merge: str = "put the finished shards together, then score",
) -> None:
    """--num-shards, --shard and --merge.

    Args:
        parser: gets the flags.
        what: is shared out.
        merge: what --merge does.
    """
    add = parser.add_argument
    add(
        "--num-shards",
        type=positive_int,
        metavar="N",
        help=f"share the {what} out over N runs of about equally many frames",
    )
    add("--shard", type=int, metavar="I", help="run shard I of --num-shards, 0 to N - 1")
    add("--merge", action="store_true", help=merge)


def sharding_of(args: argparse.Namespace) -> Sharding | None:
    """What parsed flags ask for, None for a run of everything.

    Raises:
        UserError: flags are missing, contradict each other, or there is no such shard.
    """
    count, index = args.num_shards, args.shard
    if count is None:
        if index is not None or args.merge:
            raise UserError("--shard and --merge need --num-shards N")
        return None
    if (index is None) != args.merge:
        raise UserError(f"--num-shards {count}: expected either --shard I or --merge with it")
    if index is not None and not 0 <= index < count:
        raise UserError(f"--shard {index}: expected 0 to {count - 1}, as --num-shards is {count}")
    return Sharding(count, index)


def split(lengths: Mapping[str, int], count: int) -> list[list[str]]:
    """Shares sequences out so that shards are about equally long.

    The longest sequence goes first, each to the shard that is shortest so far; the lengths of two
    shards differ by no more than the longest sequence. The order in which sequences are given
    decides nothing but their order within a shard.

    Args:
        lengths: name to number of frames.
        count: number of shards; some are empty where there are fewer sequences.

    Returns:
        The names of every shard.
    """
    # By length, then by number: sequences of no length are shared out too.
    heap = [(0, 0, shard) for shard in range(count)]
    owner: dict[str, int] = {}
    for name in sorted(lengths, key=lambda name: (-lengths[name], name)):
        load, num, shard = heap[0]
        heapq.heapreplace(heap, (load + lengths[name], num + 1, shard))
        owner[name] = shard
    shards: list[list[str]] = [[] for _ in range(count)]
    for name in lengths:
        shards[owner[name]].append(name)
    return shards


class Shards:
    """The shards of one run.

    Args:
        sharding: what the flags ask for.
        target: file or folder of the results of everything; shards lie beside it.
        method: name of the method.
        data: what is run, such as "davis2017 val".
        lengths: name of every sequence to its number of frames, in the order of the data.
        settings: what the results depend on; what does not matter when the shards are put together,
            such as the device, is left out.
        batch: so many sequences after one another stay together, as they are run together.

    Attributes:
        order: the names of all sequences, as they were given.
    """

    def __init__(
        self,
        sharding: Sharding,
        target: Path,
        *,
        method: str,
        data: str,
        lengths: Mapping[str, int],
        settings: Mapping[str, Any],
        batch: int = 1,
    ) -> None:
        self.sharding = sharding
        # "." and ".." have no name of their own to append to.
        self._target = target if target.name not in ("", "..") else target.resolve()
        self._base = self._target.with_name(f"{self._target.name}_shards")
        self.order = list(lengths)
        batches = [self.order[i : i + batch] for i in range(0, len(self.order), batch)]
        of_first = {names[0]: names for names in batches}
        sizes = {first: sum(lengths[name] for name in names) for first, names in of_first.items()}
        self._names = [
            [name for first in firsts for name in of_first[first]]
            for firsts in split(sizes, sharding.count)
        ]
        self._head = {"method": method, "data": data, "num_shards": sharding.count}
        # As JSON gives it back: tuples become lists, paths text.
        self._settings = json.loads(json.dumps(settings, default=str))

    def names(self) -> list[str]:
        """The sequences of the shard that is run; it may have none."""
        assert self.sharding.index is not None
        return self._names[self.sharding.index]

    def folder(self, index: int) -> Path:
        """The folder of a shard."""
        return self._base / f"{index}-of-{self.sharding.count}"

    def target(self, folder: Path) -> Path:
        """Where a shard writes its results in its folder, under the name of those of everything."""
        # A folder of its own, as the shard and the run in it each lock theirs.
        return folder / "results" / self._target.name

    @contextlib.contextmanager
    def run(self) -> Iterator[Path | None]:
        """Runs the shard of the flags: gives its folder, which counts as finished after the block.

        None where there is nothing to do, as it is finished or has no sequence; that is told.

        Raises:
            UserError: the folder holds a shard of another run, is in use or cannot be written.
        """
        index = self.sharding.index
        assert index is not None
        title, names = f"shard {index} of {self.sharding.count}", self.names()
        folder = check_writable(self.folder(index))
        plan = self._plan(index)
        with OutputLock(folder):
            state = self._state(index)
            if state.differs:
                raise UserError(f"{title}: {state.fault}; remove {folder} or choose another output")
            if state.fault is None:
                say(f"{title} is finished; remove {folder} to run it again")
                yield None
                return
            write_json(folder / PLAN_FILE, plan | {_FINISHED: False})
            say(f"{title}: {len(names)} of {len(self.order)} sequences")
            yield folder if names else None
            write_json(folder / PLAN_FILE, plan | {_FINISHED: True})
            say(f"{title} is finished; its results are in {folder}")

    def finished(self) -> list[tuple[int, Path, list[str]]]:
        """Number, folder and sequences of every shard.

        Raises:
            UserError: some are missing, unfinished or of another run; says which to run again.
        """
        count = self.sharding.count
        faults = [(i, fault) for i in range(count) if (fault := self._state(i).fault) is not None]
        if faults:
            title = f"{len(faults)} of {count} shards cannot be put together:"
            again = f"run it with --num-shards {count} --shard"
            lines = [f"shard {i}: {fault}; {again} {i}" for i, fault in faults]
            raise UserError(list_problems(title, lines))
        return [(i, self.folder(i), names) for i, names in enumerate(self._names)]

    def fault(self, index: int, reason: str) -> UserError:
        """What to raise where the files of a finished shard are not what they should be."""
        return UserError(
            f"shard {index}: {reason}; remove {self.folder(index)} and run it again with "
            f"--num-shards {self.sharding.count} --shard {index}"
        )

    def _plan(self, index: int) -> dict[str, Any]:
        names = self._names[index]
        return {**self._head, "shard": index, "settings": self._settings, "sequences": names}

    def _state(self, index: int) -> _State:
        path = self.folder(index) / PLAN_FILE
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return _State(f"is missing (there is no {path})")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            return _State(f"{path} is damaged", differs=True)
        is_finished, names = found.pop(_FINISHED, False), found.pop("sequences", None)
        plan = self._plan(index)
        differences = list(changes(found, {k: v for k, v in plan.items() if k != "sequences"}))
        if names != plan["sequences"]:
            differences.append("its sequences are others")
        if differences:
            return _State(f"{path} is of another run ({'; '.join(differences)})", differs=True)
        return _State(None if is_finished else "is not finished")


@dataclass(frozen=True)
class _State:
    """What is there of a shard: why it cannot be used, None where it can; whether it is foreign."""

    fault: str | None
    differs: bool = False


def merged_entries(
    shards: Shards, key: str, file: Callable[[Path], Path]
) -> Iterator[dict[str, Any]]:
    """Entries of the JSON lists of all shards, in the order of the data, in memory for one entry.

    Args:
        shards: each has the entries of a sequence together, sequences in order.
        key: of an entry: the name of its sequence.
        file: from the folder of a shard to its list.

    Raises:
        UserError: a shard is not finished, or its list is not what it should be.
    """
    streams = []
    owner: dict[str, int] = {}
    for index, folder, names in shards.finished():
        path = file(folder)
        if names and not path.is_file():
            raise shards.fault(index, f"there is no {path}")
        items = (entry for _, entry in iter_items(path, [ROOT])) if names else iter(())
        streams.append(groupby(items, lambda entry: str(entry.get(key))))
        owner |= dict.fromkeys(names, index)
    heads = [next(stream, None) for stream in streams]
    for name in shards.order:
        index = owner[name]
        head = heads[index]
        # A sequence in which nothing was found has no entry.
        if head is not None and head[0] == name:
            yield from head[1]
            heads[index] = next(streams[index], None)
    for index, head in enumerate(heads):
        if head is not None:
            raise shards.fault(index, f"{key} {head[0]} stands in its results where it should not")


def take_file(source: Path, target: Path) -> None:
    """Copies a file of a shard to its place among the results of everything."""
    with atomic_path(target, durable=False) as temporary:
        shutil.copyfile(source, temporary)
