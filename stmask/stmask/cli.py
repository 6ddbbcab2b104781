"""`stmask train | eval | predict | viewer | download | bench | parity`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from vidseg_common.arguments import did_you_mean
from vidseg_common.errors import UserError, run_cli

#: Command, module and function, one line of help.
COMMANDS = {
    "predict": ("stmask.commands.predict", "main", "find, segment and track objects in a video"),
    "eval": ("stmask.commands.eval", "main", "segment and score a data set, images or a video"),
    "train": ("stmask.commands.train", "main", "train a configuration"),
    "viewer": ("stmask.commands.viewer", "main", "show result files in the browser"),
    "download": ("stmask.commands.download", "main", "check weights and put them in place"),
    "bench": ("stmask.commands.bench", "main", "measure speed on this machine"),
    "parity": ("stmask.parity", "main", "compare with the recorded numbers of the original"),
}


def help_text() -> str:
    """The overview."""
    lines = ["usage: stmask COMMAND ...", "", "commands:"]
    lines += [f"  {name:10s} {text}" for name, (_, _, text) in COMMANDS.items()]
    return "\n".join([*lines, "", "`stmask COMMAND --help` lists a command's flags."])


def dispatch(argv: Sequence[str]) -> int | None:
    """Runs a command line without the program's name.

    Raises:
        UserError: no such command.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(help_text())
        return 0
    name, *rest = argv
    if name not in COMMANDS:
        raise UserError(f"unknown command {name!r}{did_you_mean(name, COMMANDS)}")
    module, function, _ = COMMANDS[name]
    return getattr(importlib.import_module(module), function)(rest)


def main() -> None:
    """Console entry point."""
    run_cli(lambda: dispatch(sys.argv[1:]))
