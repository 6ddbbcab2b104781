"""What a run leaves behind while it works: console lines, a JSONL file, TensorBoard.

The module is always imported by its full name, so the standard library's `logging` stays itself.
"""

from __future__ import annotations

import datetime
import functools
import importlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from vidseg_common import distributed

UNKNOWN = "unknown"


class RunLogger:
    """Writes scalars, images and texts of a run; does nothing on other ranks than 0.

    The JSONL file gets one object per line, {"time", "kind", ...}, written and flushed at once: a
    crash loses nothing, and a resumed run appends. A line that a crash cut off is closed first.

    Args:
        folder: where the files go, created where missing; None writes no files.
        name: name of the run: the JSONL file is folder/name.jsonl, console lines start with it.
        tensorboard: also write TensorBoard events into the folder.
        console: also show lines and texts on the console.
        stream: where console lines go; default: standard output.
        rank: rank of this process; default: that of the process group.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: str | Path | None,
        name: str,
        *,
        tensorboard: bool = True,
        console: bool = True,
        stream: IO[str] | None = None,
        rank: int | None = None,
    ) -> None:
        self.name = name
        is_main = (distributed.rank() if rank is None else rank) == 0
        self.folder = Path(folder) if folder is not None and is_main else None
        self._console = (stream or sys.stdout) if console and is_main else None
        self._jsonl: IO[str] | None = None
        self._tensorboard: Any = None
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._jsonl = open_to_append(self.folder / f"{name}.jsonl")
        if tensorboard:
            # Imported late: it takes a second, and an evaluation has no use for it.
            module = importlib.import_module("torch.utils.tensorboard")
            self._tensorboard = module.SummaryWriter(log_dir=str(self.folder))

    def __enter__(self) -> RunLogger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def scalar(self, name: str, value: float, step: int) -> None:
        """Records one number of one step."""
        self.scalars({name: value}, step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Records several numbers of one step, as one line of the JSONL file.

        Args:
            values: name -> number (a one-element tensor too); not-finite ones become text in JSON.
            step: iteration or epoch.
        """
        numbers = {name: float(value) for name, value in values.items()}
        self._write("scalars", step=int(step), values=numbers)
        if self._tensorboard is not None:
            for name, value in numbers.items():
                self._tensorboard.add_scalar(name, value, step)

    def image(self, name: str, image: np.ndarray, step: int) -> None:
        """Records an image, in TensorBoard only.

        Args:
            name: tag.
            image: (H, W, 3) uint8, RGB.
            step: iteration or epoch.

        Raises:
            ValueError: another shape or type.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"need an (H, W, 3) uint8 image, got {image.shape} {image.dtype}")
        if self._tensorboard is not None:
            self._tensorboard.add_image(name, image, step, dataformats="HWC")

    def text(self, name: str, text: str, step: int = 0) -> None:
        """Records a text, for example the configuration of the run."""
        self._write("text", name=name, text=text, step=int(step))
        if self._tensorboard is not None:
            # As a code block, so that Markdown keeps line breaks.
            self._tensorboard.add_text(name, "```\n" + text + "\n```", step)

    def line(self, message: str) -> None:
        """Shows a line on the console and keeps it in the JSONL file."""
        self._write("line", message=message)
        if self._console is not None:
            self._console.write(f"{self.name} - {message}\n")
            self._console.flush()

    def close(self) -> None:
        """Closes the files; logging after it only reaches the console."""
        if self._jsonl is not None:
            self._jsonl.close()
            self._jsonl = None
        if self._tensorboard is not None:
            self._tensorboard.close()
            self._tensorboard = None

    def _write(self, kind: str, **entry: Any) -> None:
        if self._jsonl is None:
            return
        record = {"time": round(time.time(), 3), "kind": kind} | entry
        self._jsonl.write(json.dumps(_finite(record), ensure_ascii=False) + "\n")
        self._jsonl.flush()


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Reads the records of a JSONL log; a line that a crash cut off is left out.

    Args:
        path: the file, or one that does not exist (no records).
    """
    path = Path(path)
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return [record for record in records if isinstance(record, dict)]


@functools.cache
def git_description(folder: str | Path | None = None) -> str:
    """Describes the code that runs: "main 1a2b3c4", with " (modified)" for changed files.

    Args:
        folder: a folder of the working copy; default: that of this module.

    Returns:
        "unknown" outside a working copy, without git, or before the first commit; a detached
        head is described by "detached" instead of a branch.
    """
    root = Path(folder) if folder is not None else Path(__file__).parent
    if folder is None and not _git(root, "ls-files", Path(__file__).name):
        return UNKNOWN  # installed into some other project's working copy
    commit = _git(root, "rev-parse", "--short", "HEAD")
    if not commit:
        return UNKNOWN
    branch = _git(root, "symbolic-ref", "--short", "-q", "HEAD") or "detached"
    modified = " (modified)" if _git(root, "status", "--porcelain", "-uno") else ""
    return f"{branch} {commit}{modified}"


def run_name(experiment: str, *, now: datetime.datetime | None = None) -> str:
    """Names a run after its start, as "Nov21_14.05.09_ID" (spec stcn 6.9).

    Args:
        experiment: the ID.
        now: time of the start; default: now.
    """
    return f"{now or datetime.datetime.now():%b%d_%H.%M.%S}_{experiment}"


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def open_to_append(path: Path) -> IO[str]:
    """Opens a JSONL file at its end, on a fresh line even after a crash in mid-line."""
    cut_off = False
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            file.seek(-1, 2)
            cut_off = file.read(1) != b"\n"
    opened = path.open("a", encoding="utf-8")
    if cut_off:
        opened.write("\n")
    return opened


def _finite(value: Any) -> Any:
    """Replaces numbers that JSON lacks by their names, so that every reader accepts the line."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value
