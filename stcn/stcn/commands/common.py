"""Small things that every command needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from vidseg_common.arguments import did_you_mean
from vidseg_common.errors import DatasetError, list_problems


def say(*lines: str) -> None:
    """Prints lines for the user."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def metrics_folder(output: Path) -> Path:
    """Numbers go beside the results, whose folder holds nothing but the submission."""
    # "." and ".." have no name of their own to append to.
    named = output if output.name not in ("", "..") else output.resolve()
    return named.with_name(f"{named.name}_metrics")


def check_names(wanted: Sequence[str] | None, present: Sequence[str], source: Path) -> list[str]:
    """The chosen videos, each once, in the order of the data set; all of them for None.

    Args:
        wanted: names given to `--videos`.
        present: names of the data set.
        source: where they are, for the message.

    Raises:
        DatasetError: there is no such video; the nearest name is offered.
    """
    if wanted is None:
        return list(present)
    unknown = [name for name in dict.fromkeys(wanted) if name not in present]
    if unknown:
        lines = [f"{name}{did_you_mean(name, present)}" for name in unknown]
        raise DatasetError(list_problems(f"no such video in {source}:", lines))
    return [name for name in present if name in wanted]
