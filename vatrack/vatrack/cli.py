"""`vatrack COMMAND`."""

from __future__ import annotations

from vidseg_common.program import Program

#: Command, module and function, one line of help.
COMMANDS = {
    "predict": ("vatrack.commands.predict", "main", "find, segment and track objects in a video"),
    "eval": ("vatrack.commands.test", "main", "run and score a data set"),
    "train": ("vatrack.commands.train", "main", "train a configuration"),
    "create_sailvoscut_fromdict": (
        "vatrack.commands.convert",
        "main_frames",
        "make the frames of SAIL-VOS-cut from the published list",
    ),
    "sailvos2coco": ("vatrack.commands.convert", "main_number", "number videos and instances"),
    "sailvos2coco_cut": (
        "vatrack.commands.convert",
        "main_cut",
        "split videos at changes of scene",
    ),
    "json_script": (
        "vatrack.commands.convert",
        "main_kind",
        "make amodal, visible or joint annotations",
    ),
    "per_video": (
        "vatrack.commands.convert",
        "main_per_video",
        "make the ground truth of the video-level AP",
    ),
    "download": ("vatrack.commands.download", "main", "put published weights in place"),
    "parity": ("vatrack.parity", "main", "compare with the recorded numbers of the original"),
}

PROGRAM = Program("vatrack", COMMANDS)
dispatch, main = PROGRAM.dispatch, PROGRAM.main
