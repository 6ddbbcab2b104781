"""Errors a user can cause, and the one place where a command turns them into an exit status."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class UserError(ValueError):
    """What a user did wrong, told in words that say what to do about it."""


class MaskError(UserError):
    """A mask file or array that cannot be used."""


class VideoError(UserError):
    """A video file or a folder of frames that cannot be read."""


class CheckpointError(UserError):
    """A weights file that is missing, damaged, unsafe or of another model."""


class DatasetError(UserError):
    """A data set or results folder that does not have the expected layout."""


class ConfigError(UserError):
    """A configuration key or value that does not exist or does not fit."""


class DownloadError(UserError):
    """A download that failed or did not verify."""


class OutputBusyError(UserError, RuntimeError):
    """Another live run is writing into the same output folder."""


def list_problems(header: str, problems: Iterable[str]) -> str:
    """Joins all problems into one message: the header, then one indented line per problem."""
    return "\n".join([header, *(f"  - {problem}" for problem in problems)])


def describe_os_error(error: OSError) -> str:
    """Says in one line what the operating system refused, on which file, and what to do.

    Args:
        error: any OSError, with or without a file name.
    """
    reason = error.strerror or str(error) or type(error).__name__
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if name is not None]
    where = f": {' -> '.join(names)}" if names else ""
    hints = {
        errno.ENOSPC: " (free some space or choose another output folder)",
        errno.EDQUOT: " (free some space or choose another output folder)",
        errno.EACCES: " (check the permissions or choose another folder)",
        errno.EROFS: " (choose another folder)",
    }
    return f"{reason}{where}{hints.get(error.errno or 0, '')}"


def run_cli(main: Callable[[], int | None]) -> NoReturn:
    """Runs a command and leaves the process with its exit status.

    A `UserError` or an `OSError` (disk full, no permission, file missing) becomes one
    "error: ..." message on stderr and status 2; Ctrl-C becomes status 130. Anything else is a
    fault of ours and keeps its traceback.

    Args:
        main: the command; its result is the exit status, None counts as 0.

    Raises:
        SystemExit: always.
    """
    try:
        status = main() or 0
        # A full disk or a closed pipe may only show when the buffer is emptied.
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away (`... | head`). Python would flush stdout again on exit and fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except UserError as error:
        status = _fail(str(error))
    except OSError as error:
        status = _fail(describe_os_error(error))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        status = EXIT_INTERRUPTED
    raise SystemExit(status)


def _fail(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return EXIT_BAD_INPUT
