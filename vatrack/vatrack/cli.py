"""`vatrack parity`."""

from __future__ import annotations

from vidseg_common.program import Program

#: Command, module and function, one line of help.
COMMANDS = {
    "parity": ("vatrack.parity", "main", "compare with the recorded numbers of the original"),
}

PROGRAM = Program("vatrack", COMMANDS)
dispatch, main = PROGRAM.dispatch, PROGRAM.main
