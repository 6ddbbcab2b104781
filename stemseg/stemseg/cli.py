"""`stemseg predict | eval | train | ...`; `stemseg` alone lists all of them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from vidseg_common.arguments import did_you_mean
from vidseg_common.errors import UserError, run_cli

#: Command, module and function, one line of help.
COMMANDS = {
    "predict": ("stemseg.commands.predict", "main", "find, segment and track objects in a video"),
    "eval": ("stemseg.commands.eval", "main", "segment and score a benchmark data set"),
    "train": ("stemseg.commands.train", "main", "train a stage"),
    "visualize-data": ("stemseg.commands.visualize_data", "main", "look at what training will see"),
    "resize-mapillary": ("stemseg.commands.resize_mapillary", "main", "shrink Mapillary Vistas"),
    "filter-mots": ("stemseg.commands.filter_mots", "main", "filter results of KITTI-MOTS"),
    "download": ("stemseg.commands.download", "main", "check weights and put them in place"),
    "bench": ("stemseg.commands.bench", "main", "measure speed on this machine"),
    "parity": ("stemseg.parity", "main", "compare with the recorded numbers of the original"),
}


def help_text() -> str:
    """The overview."""
    lines = ["usage: stemseg COMMAND ...", "", "commands:"]
    lines += [f"  {name:16s} {text}" for name, (_, _, text) in COMMANDS.items()]
    return "\n".join([*lines, "", "`stemseg COMMAND --help` lists a command's flags."])


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
