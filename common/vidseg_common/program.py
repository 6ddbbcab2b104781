"""A console program of several commands, each in a module that is imported when it is asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from vidseg_common.arguments import did_you_mean
from vidseg_common.errors import UserError, run_cli


@dataclass(frozen=True)
class Program:
    """What a method's console command consists of.

    Attributes:
        name: as it is typed.
        commands: command to module, function and one line of help.
    """

    name: str
    commands: Mapping[str, tuple[str, str, str]]

    def help_text(self) -> str:
        """The overview."""
        width = max(10, *(len(name) for name in self.commands))
        lines = [f"usage: {self.name} COMMAND ...", "", "commands:"]
        lines += [f"  {name:{width}s} {text}" for name, (_, _, text) in self.commands.items()]
        return "\n".join([*lines, "", f"`{self.name} COMMAND --help` lists a command's flags."])

    def dispatch(self, argv: Sequence[str]) -> int | None:
        """Runs a command line without the program's name.

        Raises:
            UserError: no such command.
        """
        if not argv or argv[0] in ("-h", "--help"):
            sys.stdout.write(self.help_text() + "\n")
            return 0
        name, *rest = argv
        if name not in self.commands:
            raise UserError(f"unknown command {name!r}{did_you_mean(name, self.commands)}")
        module, function, _ = self.commands[name]
        status: int | None = getattr(importlib.import_module(module), function)(rest)
        return status

    def main(self) -> NoReturn:
        """Console entry point.

        Raises:
            SystemExit: always.
        """
        run_cli(lambda: self.dispatch(sys.argv[1:]))
