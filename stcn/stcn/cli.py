"""`stcn train | eval | predict | demo | download | bench | parity`."""

from __future__ import annotations

from vidseg_common.program import Program

#: Command, module and function, one line of help.
COMMANDS = {
    "predict": ("stcn.commands.predict", "main", "segment your own video from a mask"),
    "demo": ("stcn.commands.demo", "main", "segment the built-in sample and write a report"),
    "eval": ("stcn.commands.eval", "main", "segment and score a benchmark data set"),
    "train": ("stcn.commands.train", "main", "train a stage"),
    "download": ("stcn.commands.download", "main", "fetch weights or data sets"),
    "bench": ("stcn.commands.bench", "main", "measure speed on this machine"),
    "parity": ("stcn.parity", "main", "compare with the recorded numbers of the original"),
}

PROGRAM = Program("stcn", COMMANDS)
dispatch, main = PROGRAM.dispatch, PROGRAM.main
