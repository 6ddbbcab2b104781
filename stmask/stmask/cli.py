"""`stmask train | eval | predict | viewer | download | bench | parity`."""

from __future__ import annotations

from vidseg_common.program import Program

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

PROGRAM = Program("stmask", COMMANDS)
dispatch, main = PROGRAM.dispatch, PROGRAM.main
