"""`vidseg pack`: results checked and zipped as an evaluation server expects them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from vidseg_common.arguments import ArgumentParser
from vidseg_common.commands.common import (
    add_quiet_flag,
    add_split_flags,
    add_truth_flags,
    open_truth,
    plural,
    say,
    shows_progress,
)
from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.errors import EXIT_BAD_INPUT, UserError
from vidseg_common.formats import find_format
from vidseg_common.submission import SERVERS, Server, files_of, write_zip


def build_parser() -> ArgumentParser:
    """The flags."""
    parser = ArgumentParser(
        "vidseg pack",
        description="Check results against what a server expects and zip them; exit status 2 "
        "and no file when something is wrong.",
    )
    add = parser.add_argument
    add("path", type=Path, metavar="RESULTS", help="results folder, or results JSON")
    add("--for", dest="server", required=True, choices=list(SERVERS), help="the benchmark")
    add("-o", "--output", type=Path, required=True, metavar="OUT.zip", help="file to write")
    add_truth_flags(parser, "data set with the videos to submit; annotations may be missing")
    add_split_flags(parser)
    add("--name", default="vidseg", metavar="NAME", help="name of the method (coco)")
    add("--overwrite", action="store_true", help="replace OUT.zip")
    add_quiet_flag(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Packs results.

    Returns:
        0, or 2 when the results have problems, which are listed.

    Raises:
        UserError: bad flags, or nothing to pack.
        OSError: the file cannot be written.
    """
    options = build_parser().parse_args(argv)
    server = SERVERS[options.server]
    _check(options, server)
    truth = _truth(options, server)
    found = find_format(server.results)
    problems = found.validate(options.path, truth=truth, progress=shows_progress(options))
    if problems:
        say(*map(str, problems), f"{options.path}: {plural(len(problems), 'problem')}, not packed")
        return EXIT_BAD_INPUT
    files = files_of(server, options.path, truth, split=options.split, method=options.name)
    write_zip(options.output, files, progress=shows_progress(options))
    megabytes = options.output.stat().st_size / 1e6
    say(f"{options.output}: {plural(len(files), 'file')}, {megabytes:.1f} MB, for {server.title}")
    return 0


def _check(options: argparse.Namespace, server: Server) -> None:
    if options.output.suffix != ".zip":
        raise UserError(f"the output must end in .zip: {options.output}")
    if options.output.exists() and not options.overwrite:
        raise UserError(f"the output {options.output} exists; use --overwrite to replace it")
    if not options.path.exists():
        raise UserError(f"nothing at {options.path}")
    if options.gt is None and server.needs_truth:
        raise UserError(f"--gt is needed: the data set that {server.title} lists the videos of")


def _truth(options: argparse.Namespace, server: Server) -> AnnotationSet | None:
    options.gt_format = options.gt_format or server.truth
    return server.test_set() if options.gt is None else open_truth(options)
