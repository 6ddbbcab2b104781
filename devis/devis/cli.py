"""`devis predict | eval | train | download | bench | parity`, and what shows data and attention."""

from __future__ import annotations

from vidseg_common.program import Program

#: Command, module and function, one line of help.
COMMANDS = {
    "predict": ("devis.commands.predict", "main", "find, segment and track the objects of a video"),
    "eval": ("devis.commands.eval", "main", "run and score a validation set"),
    "train": ("devis.commands.train", "main", "train a configuration"),
    "download": ("devis.commands.download", "main", "put published weights in place"),
    "bench": ("devis.commands.bench", "main", "measure speed on this machine"),
    "visualize-att-maps": (
        "devis.commands.visualize_att_maps",
        "main",
        "draw where the decoder looks in the frames of a clip",
    ),
    "visualize-dataset": (
        "devis.commands.visualize_dataset",
        "main",
        "draw training samples as the network gets them",
    ),
    "parity": ("devis.parity", "main", "compare with the recorded numbers of the original"),
}

PROGRAM = Program("devis", COMMANDS)
dispatch, main = PROGRAM.dispatch, PROGRAM.main
