"""Command-line arguments with helpful errors: a mistyped flag names the flag that was meant."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

EXIT_USAGE = 2
LONG_FLAG = re.compile(r"--[A-Za-z]")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Finds the known word most like a mistyped one, or None when nothing is like it.

    Case and the difference between "-" and "_" do not count.
    """
    by_form = {_normal_form(name): name for name in known}
    found = difflib.get_close_matches(_normal_form(word), by_form, n=1, cutoff=0.6)
    return by_form[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Text to append to "unknown X": the nearest known word, or nothing."""
    guess = nearest(word, known)
    return f"; did you mean {guess}?" if guess else ""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps line breaks of the description and shows every default that says something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        # By identity: 0 equals False, and is a default worth telling.
        silent = any(action.default is value for value in (None, False, argparse.SUPPRESS))
        silent = silent or action.default == []
        if silent or "%(default)" in text or not _takes_default(action):
            return text
        return f"{text} (default: %(default)s)".lstrip()


class ArgumentParser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` without abbreviations, with one-line errors and exit status 2.

    An unknown flag is reported with the nearest flag, also when a required argument is missing
    because of the mistyped one. Sub-commands made by `add_subparsers` behave the same.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", HelpFormatter)
        super().__init__(*args, **kwargs)
        self._last_tokens: list[str] | None = None

    def parse_args(  # type: ignore[override]  # the typed overloads add nothing here
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        """Parses the arguments; anything left over is an error.

        Args:
            args: the words of the command line; default: those of this process.
            namespace: object that receives the values; default: a new one.

        Raises:
            SystemExit: with status 2 after one line on stderr, or 0 after --help.
        """
        values, extras = self.parse_known_args(args, namespace)
        if extras:
            parser = self._innermost_used()
            flags = [word for word in extras if word.startswith("-") and not _is_number(word)]
            if flags:
                parser.error(parser._unknown_flag(flags[0]))
            parser.error(f"unexpected argument {extras[0]!r}")
        return values

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parses what it knows and returns the rest, for commands with trailing KEY VALUE pairs."""
        self._last_tokens = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(self._last_tokens, namespace)

    def error(self, message: str) -> NoReturn:
        """Prints one line on stderr and leaves with status 2."""
        if message.startswith("the following arguments are required"):
            unknown = self._first_unknown_flag()
            message = self._unknown_flag(unknown) if unknown else message
        self.exit(EXIT_USAGE, f"{self.prog}: error: {message} (see {self.prog} --help)\n")

    def _unknown_flag(self, word: str) -> str:
        flag = word.split("=", 1)[0]
        return f"unknown flag {flag}{did_you_mean(flag, self._option_string_actions)}"

    def _first_unknown_flag(self) -> str | None:
        if any(action.choices for action in self._subparsers_actions()):
            return None  # the words after a sub-command belong to its own parser
        for word in self._last_tokens or []:
            if word == "--":
                return None
            flag = word.split("=", 1)[0]
            if LONG_FLAG.match(word) and flag not in self._option_string_actions:
                return flag
        return None

    def _subparsers_actions(self) -> list[argparse._SubParsersAction[Any]]:
        return [act for act in self._actions if isinstance(act, argparse._SubParsersAction)]

    def _innermost_used(self) -> ArgumentParser:
        for action in self._subparsers_actions():
            for parser in action.choices.values():
                if isinstance(parser, ArgumentParser) and parser._last_tokens is not None:
                    return parser._innermost_used()
        return self


def _normal_form(word: str) -> str:
    return word.lstrip("-").lower().replace("-", "_")


def _takes_default(action: argparse.Action) -> bool:
    optional_positional = (argparse.OPTIONAL, argparse.ZERO_OR_MORE)
    return bool(action.option_strings) or action.nargs in optional_positional


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
