"""Command line of the MOTS evaluation: the three paths of the official tool and a few flags."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from vidseg_common.arguments import ArgumentParser
from vidseg_common.datasets.mots_files import read_seqmap
from vidseg_common.errors import DatasetError
from vidseg_common.files import write_json
from vidseg_common.metrics.mots import evaluate_files
from vidseg_common.metrics.parallel import available_cpus, positive_int


def build_parser() -> ArgumentParser:
    """Arguments of the official tool (spec common section 6.1) and ours."""
    parser = ArgumentParser(
        prog="python -m vidseg_common.metrics.mots",
        description="sMOTSA, MOTSA, MOTSP of KITTI-MOTS and MOTSChallenge; exit status 0 = scored, "
        "2 = bad input.\nEither side is a folder with NAME.txt or NAME/NNNNNN.png per sequence.",
    )
    add = parser.add_argument
    add("results", type=Path, help="folder of the results")
    add("gt", type=Path, help="folder of the ground truth")
    add("seqmap", type=Path, help="sequence map, lines such as `0002 empty 000000 000232`")
    add("--workers", type=positive_int, default=available_cpus(), help="processes")
    add("--json", type=Path, metavar="OUT", help="also write everything at full precision")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores a results folder and prints a table per class.

    Args:
        arguments: command line without the program, those of the process by default.

    Returns:
        0, the exit status.

    Raises:
        UserError: bad input, all problems in one message.
        OSError: the result file cannot be written.
    """
    options = build_parser().parse_args(arguments)
    for folder in (options.results, options.gt):
        if not folder.is_dir():
            raise DatasetError(f"folder not found: {folder}")
    result = evaluate_files(
        options.results,
        options.gt,
        read_seqmap(options.seqmap),
        workers=options.workers,
        progress=not options.quiet,
    )
    if options.json:
        write_json(options.json, result.to_json())
    sys.stdout.write(result.table())
    return 0
