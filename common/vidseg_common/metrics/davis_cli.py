"""Command line of the DAVIS evaluation: the flags of the official tool and a few more."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidseg_common.arguments import ArgumentParser
from vidseg_common.datasets.davis import (
    UNSUPERVISED_ANNOTATIONS,
    davis2016_names,
    davis2017_names,
)
from vidseg_common.errors import DatasetError
from vidseg_common.files import check_writable, write_json, write_text
from vidseg_common.metrics.davis_cache import cache_path, question_of, read_cache, write_cache
from vidseg_common.metrics.davis_jf import Task, evaluate_davis
from vidseg_common.metrics.jf_result import METRICS, JFResult
from vidseg_common.metrics.parallel import available_cpus, positive_int


def build_parser() -> ArgumentParser:
    """Flags of the official tool (spec common section 4.5) and ours."""
    parser = ArgumentParser(
        prog="python -m vidseg_common.metrics.davis_jf",
        description="J&F of DAVIS 2016/2017; exit status 0 = scored, 2 = bad input.",
    )
    add = parser.add_argument
    add("--davis_path", type=Path, required=True, help="folder with Annotations and ImageSets")
    add("--results_path", type=Path, required=True, help="predictions, SEQUENCE/NNNNN.png")
    add(
        "--set",
        default="val",
        choices=["train", "val", "test-dev", "test-challenge"],
        help="which split",
    )
    add(
        "--task",
        choices=["semi-supervised", "unsupervised", "tracking"],
        help="protocol; tracking is that of the tracking tool "
        "(default unsupervised as in the official tool; semi-supervised for 2016)",
    )
    add("--year", default="2017", choices=["2016", "2017"], help="layout and rule")
    add("--binary", action="store_true", help="score all ids as one object, the rule of 2016")
    add("--resolution", default="480p", help="folder of the annotations")
    add("--sequences", nargs="+", metavar="NAME", help="only these sequences of the set")
    add("--metric", nargs="+", choices=METRICS, default=list(METRICS), help="measures")
    add("--compat", action="store_true", help="decay and row order of the official tool")
    add("--workers", "--processes", type=positive_int, default=available_cpus(), help="processes")
    add("--csv_path", type=Path, help="folder for the CSV files (default: results_path)")
    add("--use_cache", "--use-cache", action="store_true", help="show an unchanged result again")
    add("--per_frame", action="store_true", help="also write per-frame_results-SET.csv")
    add("--json", type=Path, metavar="OUT", help="also write everything at full precision")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores a results folder, prints the tables and writes the CSV files.

    Args:
        arguments: command line without the program, those of the process by default.

    Returns:
        0, the exit status.

    Raises:
        UserError: bad input, all problems in one message.
        OSError: a result file cannot be written.
    """
    options = build_parser().parse_args(arguments)
    binary = options.binary or options.year == "2016"
    task: Task = options.task or ("semi-supervised" if binary else "unsupervised")
    csv_folder = check_writable(options.csv_path or options.results_path)
    sys.stdout.write(f"Evaluating sequences for the {task} task...\n")
    result = _score(options, task, binary, csv_folder)
    result.write_csv(csv_folder, options.set)
    if options.per_frame:
        write_text(csv_folder / f"per-frame_results-{options.set}.csv", result.frames_csv())
    if options.json:
        write_json(options.json, result.to_json())
    for warning in result.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    sys.stdout.write(result.table(options.set))
    return 0


def _score(options: argparse.Namespace, task: Task, binary: bool, csv_folder: Path) -> JFResult:
    """Computes the result, or takes that of an unchanged cache where the user asked for it."""
    gt_root, results_root = _annotations(options, task), _existing(options.results_path)
    sequences = options.sequences or _sequences(options, task)
    settings: dict[str, Any] = {
        "task": task,
        "binary": binary,
        "metrics": options.metric,
        "compat": options.compat,
    }
    path = cache_path(csv_folder, options.set, task)
    question = {}
    if options.use_cache:
        question = question_of(gt_root, results_root, sequences, settings)
        cached = read_cache(path, question)
        if cached:
            return cached
    result = evaluate_davis(
        gt_root,
        results_root,
        sequences,
        workers=options.workers,
        progress=not options.quiet,
        **settings,
    )
    if options.use_cache:
        write_cache(path, question, result)
    return result


def _annotations(options: argparse.Namespace, task: str) -> Path:
    name = "Annotations" if task == "semi-supervised" else UNSUPERVISED_ANNOTATIONS
    return _existing(options.davis_path / name / options.resolution)


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise DatasetError(f"folder not found: {folder}")
    return folder


def _sequences(options: argparse.Namespace, task: str) -> list[str]:
    if options.year == "2016":
        return davis2016_names(options.davis_path, options.set, options.resolution)
    return davis2017_names(options.davis_path, options.set, task != "semi-supervised")
