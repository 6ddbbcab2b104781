"""Kinds of flags that several commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Any

_WORDS = {
    **dict.fromkeys(("yes", "true", "t", "y", "1", "on"), True),
    **dict.fromkeys(("no", "false", "f", "n", "0", "off"), False),
}


def boolean(text: str) -> bool:
    """Reads true or false, as the original commands spell them.

    Raises:
        argparse.ArgumentTypeError: the word means neither.
    """
    try:
        return _WORDS[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"expected true or false, not {text!r}") from None


def share(text: str) -> float:
    """Reads a number from 0 to 1.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, not {text!r}")
    return value


def warn_inert(args: argparse.Namespace, names: Iterable[str]) -> None:
    """Says which flags were given that are accepted and do nothing."""
    for name in names:
        if getattr(args, name) is not None:
            sys.stderr.write(f"warning: --{name} is accepted and does nothing\n")


def add_boolean(parser: Any, *names: str, help: str, default: bool | None = None) -> None:
    """Adds a flag that stands alone (true) or with a value: `--display_text=false`."""
    parser.add_argument(
        *names,
        nargs="?",
        type=boolean,
        const=True,
        default=default,
        metavar="BOOL",
        help=help,
    )


def say(*lines: str) -> None:
    """Prints lines for the user."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
