"""`stemseg predict | eval | train | ...`; `stemseg` alone lists all of them."""

from __future__ import annotations

from vidseg_common.program import Program

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

PROGRAM = Program("stemseg", COMMANDS)
dispatch, main = PROGRAM.dispatch, PROGRAM.main
