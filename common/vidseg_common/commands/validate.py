"""`vidseg validate`: everything that is wrong with annotations or results."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vidseg_common.arguments import ArgumentParser
from vidseg_common.commands.common import (
    add_data_flags,
    add_truth_flags,
    asked_options,
    chosen_format,
    open_truth,
    plural,
    say,
)
from vidseg_common.datasets.annotations import Problem
from vidseg_common.errors import EXIT_BAD_INPUT


def main(argv: Sequence[str] | None = None) -> int:
    """Prints all problems with file, entry and field.

    Returns:
        0 without problems, 2 with some.

    Raises:
        UserError: the format is unknown or there is nothing at the path.
    """
    parser = ArgumentParser(
        "vidseg validate",
        description="List everything that is wrong; exit status 0 = nothing, 2 = problems.",
    )
    add_data_flags(parser, "annotation file or folder, or results")
    add_truth_flags(parser, "ground truth that results belong to")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    truth = open_truth(options)
    found = chosen_format(options.format, options.path, truth=truth)
    images = options.images or found.image_root(options.path, options.split, options.kind)
    problems = found.validate(options.path, images=images, truth=truth, **asked_options(options))
    if options.json:
        entries = [_entry(problem) for problem in problems]
        report = {"path": str(options.path), "format": found.name, "problems": entries}
        say(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        told = plural(len(problems), "problem") if problems else "no problems"
        say(*map(str, problems), f"{options.path}: {found.name}, {told}")
    return EXIT_BAD_INPUT if problems else 0


def _entry(problem: Problem) -> dict[str, str]:
    return {
        "file": str(problem.file),
        "where": problem.where,
        "field": problem.field,
        "message": problem.message,
    }
