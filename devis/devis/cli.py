"""`devis train | visualize-dataset | parity`."""

from __future__ import annotations

from vidseg_common.program import Program

#: Command, module and function, one line of help.
COMMANDS = {
    "train": ("devis.commands.train", "main", "train a configuration"),
    "visualize-dataset": (
        "devis.commands.visualize_dataset",
        "main",
        "draw training samples as the network gets them",
    ),
    "parity": ("devis.parity", "main", "compare with the recorded numbers of the original"),
}

PROGRAM = Program("devis", COMMANDS)
dispatch, main = PROGRAM.dispatch, PROGRAM.main
