"""`vidseg convert | validate | info | show | split | pack | synth | sailvos | evaluate`."""

from __future__ import annotations

from vidseg_common.program import Program

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

PROGRAM = Program(
    "vidseg",
    {
        name: (f"vidseg_common.commands.{module}", "main", text)
        for name, (module, text) in COMMANDS.items()
    },
)
dispatch, main = PROGRAM.dispatch, PROGRAM.main

if __name__ == "__main__":
    main()
