"""Writing that is never half done: atomic files, one run per output folder, early checks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from vidseg_common.errors import OutputBusyError, UserError

__all__ = [
    "OutputBusyError",
    "OutputLock",
    "atomic_path",
    "check_writable",
    "write_bytes",
    "write_json",
    "write_text",
]

LOCK_NAME = ".run.lock"


@contextlib.contextmanager
def atomic_path(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Gives a temporary path beside `path` that takes its name only when all went well.

    The parent folder is created. The temporary name keeps the suffix, because many writers
    choose the format by it. On any error the temporary file is removed and an older file of the
    final name stays as it was.

    Args:
        path: final name of the file.
        durable: also wait until the content is on the disk before the rename, so that the file
            survives a power cut. False is enough where thousands of small files can be redone.

    Raises:
        OSError: the folder cannot be created, or the file written or renamed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(6)}.part{path.suffix}")
    try:
        yield temporary
        if durable:
            _sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Writes a binary file atomically, creating its parent folders."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Writes a UTF-8 text file atomically, creating its parent folders; newlines stay as given."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, obj: Any, *, indent: int | None = 1) -> None:
    """Writes an object as JSON atomically, creating parent folders.

    Args:
        path: final name of the file.
        obj: what `json` can write; non-finite numbers become NaN/Infinity as in Python.
        indent: spaces per level, None for one line.
    """
    write_text(path, json.dumps(obj, indent=indent, ensure_ascii=False) + "\n")


def check_writable(folder: str | Path) -> Path:
    """Creates an output folder and proves that a file can be written into it.

    Called before a long computation, so that it does not fail at its end.

    Args:
        folder: the output folder; missing parents are created too.

    Returns:
        The folder as a Path.

    Raises:
        UserError: the folder cannot be created or written.
    """
    folder = Path(folder)
    probe = folder / f".probe.{secrets.token_hex(6)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
        reason = error.strerror or error
        raise UserError(f"cannot write into the output folder {folder}: {reason}") from error
    return folder


class OutputLock:
    """Context manager that lets one live run at a time use an output folder.

    The lock is an advisory lock of the operating system on a small file in the folder, so it
    goes away with the process that held it: a file left behind by a killed run does not block.
    The file names the process and the host for the message of the run that comes second.

    Args:
        folder: the output folder; created where missing.

    Raises:
        OutputBusyError: on entering, when another live run holds the folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / LOCK_NAME
        self._descriptor: int | None = None

    def __enter__(self) -> OutputLock:
        self.folder.mkdir(parents=True, exist_ok=True)
        while self._descriptor is None:
            self._descriptor = self._try_lock()
        owner = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, owner.encode(), 0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._descriptor is not None, "left a lock that was not entered"
        # Removed while still locked: whoever opened it meanwhile notices that it is gone.
        self.path.unlink(missing_ok=True)
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)
        self._descriptor = None

    def _try_lock(self) -> int | None:
        """Locks the file; None when the holder removed it between opening and locking."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same_file(descriptor, self.path):
                return descriptor
        except OSError as error:
            owner = _describe_owner(descriptor)
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise OutputBusyError(
                f"the output folder {self.folder} is in use by {owner}; "
                "wait for it to finish or choose another folder"
            ) from None
        os.close(descriptor)
        return None


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _describe_owner(descriptor: int) -> str:
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {owner['pid']} on {owner['host']}"
    except (ValueError, KeyError, TypeError):
        # The other run has the lock but has not written its name yet.
        return "another run"
