"""`vidseg convert | validate | info | show | split | pack | synth | sailvos | evaluate`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from vidseg_common.arguments import did_you_mean
from vidseg_common.errors import UserError, run_cli

#: Command, module of its `main`, one line of help.
COMMANDS = {
    "convert": ("convert", "turn annotations of one format into another"),
    "validate": ("validate", "list everything that is wrong with annotations or results"),
    "info": ("info", "count videos, frames, tracks and categories"),
    "show": ("show", "draw annotations or results over the frames"),
    "split": ("split", "cut a data set into a training and a validation part"),
    "pack": ("pack", "check results and pack them for an evaluation server"),
    "synth": ("synth", "write a synthetic data set with exact annotations"),
    "sailvos": ("sailvos", "make the files of SAIL-VOS and SAIL-VOS-cut from the raw ones"),
    "evaluate": ("evaluate", "score results: table, JSON, CSV and an HTML report"),
    "formats": ("formats", "list the annotation formats and metrics"),
}


def help_text() -> str:
    """The overview."""
    lines = ["usage: vidseg COMMAND ...", "", "commands:"]
    lines += [f"  {name:10s} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join([*lines, "", "`vidseg COMMAND --help` lists a command's flags."])


def dispatch(argv: Sequence[str]) -> int | None:
    """Runs a command line without the program's name.

    Raises:
        UserError: no such command.
    """
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(help_text() + "\n")
        return 0
    name, *rest = argv
    if name not in COMMANDS:
        raise UserError(f"unknown command {name!r}{did_you_mean(name, COMMANDS)}")
    module = importlib.import_module(f"vidseg_common.commands.{COMMANDS[name][0]}")
    status: int | None = module.main(rest)
    return status


def main() -> None:
    """Console entry point."""
    run_cli(lambda: dispatch(sys.argv[1:]))


if __name__ == "__main__":
    main()
