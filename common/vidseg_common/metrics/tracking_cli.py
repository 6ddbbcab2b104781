"""HOTA, CLEAR and Identity of trackers, with the folders and flags of the tracking tool.

    python -m vidseg_common.metrics.tracking_cli kitti --GT_FOLDER ... --TRACKERS_FOLDER ...
    python -m vidseg_common.metrics.tracking_cli mots-challenge ...

Flags are the keys of its configuration, booleans the words True and False.
Source: spec common sections 1.5 and 6.2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from vidseg_common.archives import extract
from vidseg_common.arguments import ArgumentParser
from vidseg_common.datasets.mots_files import CLASS_NAMES
from vidseg_common.datasets.records import list_folders
from vidseg_common.errors import DatasetError, run_cli
from vidseg_common.files import check_writable, write_text
from vidseg_common.metrics.hota import COMBINED, FAMILIES, HotaResult, evaluate_pairs
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.metrics.tracking_trees import challenge_pairs, kitti_pairs

_CLASSES = {name: number for number, name in CLASS_NAMES.items()}


def true_or_false(text: str) -> bool:
    """Type of a flag that is the word True or False.

    Raises:
        argparse.ArgumentTypeError: another word.
    """
    if text not in ("True", "False"):
        raise argparse.ArgumentTypeError(f"must be True or False, not {text!r}")
    return text == "True"


def build_parser() -> ArgumentParser:
    """A sub-command per benchmark."""
    parser = ArgumentParser(
        prog="python -m vidseg_common.metrics.tracking_cli",
        description="HOTA, CLEAR and Identity; exit status 0 = scored, 2 = bad input.",
    )
    benchmarks = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    kitti = benchmarks.add_parser("kitti", help="KITTI-MOTS")
    _add_flags(kitti, split="val", classes=["car", "pedestrian"])
    challenge = benchmarks.add_parser("mots-challenge", help="MOTSChallenge")
    _add_flags(challenge, split="train", classes=["pedestrian"])
    challenge.add_argument("--BENCHMARK", default="MOTS", help="first part of BENCHMARK-SPLIT")
    challenge.add_argument(
        "--SKIP_SPLIT_FOL", type=true_or_false, default=False, help="no folder BENCHMARK-SPLIT"
    )
    return parser


def _add_flags(parser: argparse.ArgumentParser, split: str, classes: list[str]) -> None:
    add = parser.add_argument
    add("--GT_FOLDER", type=Path, required=True, help="ground truth")
    add("--TRACKERS_FOLDER", type=Path, required=True, help="one folder per tracker")
    add("--TRACKERS_TO_EVAL", nargs="+", metavar="NAME", help="these trackers (default: all)")
    add("--CLASSES_TO_EVAL", nargs="+", choices=list(_CLASSES), default=classes)
    add("--SPLIT_TO_EVAL", default=split, help="which sequences, where no map is given")
    add("--SEQMAP_FILE", type=Path, help="sequence map")
    add("--TRACKER_SUB_FOLDER", default="data", help="where files are inside a tracker's folder")
    add("--OUTPUT_FOLDER", type=Path, help="where to write (default: TRACKERS_FOLDER)")
    add("--INPUT_AS_ZIP", type=true_or_false, default=False, help="results are data.zip")
    add("--GT_LOC_FORMAT", help="path of a sequence with {gt_folder} and {seq}")
    add("--METRICS", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    add("--USE_PARALLEL", type=true_or_false, default=False, help="several processes")
    add("--NUM_PARALLEL_CORES", type=positive_int, default=8, help="how many")
    add("--PRINT_RESULTS", type=true_or_false, default=True, help="tables on stdout")
    add("--OUTPUT_SUMMARY", type=true_or_false, default=True, help="CLASS_summary.txt")
    add("--OUTPUT_DETAILED", type=true_or_false, default=True, help="CLASS_detailed.csv")
    add("--PLOT_CURVES", type=true_or_false, default=True, help="CLASS_plot.png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores every tracker, prints the tables and writes the files.

    Args:
        arguments: command line without the program, those of the process by default.

    Returns:
        0, the exit status.

    Raises:
        UserError: bad input, all problems of a tracker in one message.
        OSError: a file cannot be written.
    """
    options = build_parser().parse_args(arguments)
    root = _trackers_root(options)
    for tracker in options.TRACKERS_TO_EVAL or list_folders(root):
        output = (options.OUTPUT_FOLDER or root) / tracker
        with _results_of(root / tracker, options) as results:
            result = _score(results, options)
        if options.PRINT_RESULTS:
            sys.stdout.write(result.table(tracker) + "\n")
        _write(result, output, tracker, options)
    return 0


def _trackers_root(options: argparse.Namespace) -> Path:
    root: Path = options.TRACKERS_FOLDER
    if options.benchmark == "mots-challenge" and not options.SKIP_SPLIT_FOL:
        root = root / f"{options.BENCHMARK}-{options.SPLIT_TO_EVAL}"
    for folder in (root, options.GT_FOLDER):
        if not folder.is_dir():
            raise DatasetError(f"folder not found: {folder}")
    if not (options.TRACKERS_TO_EVAL or list_folders(root)):
        raise DatasetError(f"no tracker in {root}: one folder per tracker expected")
    return root


@contextmanager
def _results_of(tracker: Path, options: argparse.Namespace) -> Iterator[Path]:
    """The folder with the files of a tracker, unpacked for a while where they are zipped."""
    folder = tracker / options.TRACKER_SUB_FOLDER
    if not options.INPUT_AS_ZIP:
        yield folder
        return
    with TemporaryDirectory(prefix="vidseg-results-") as unpacked:
        extract(folder.with_name(folder.name + ".zip"), unpacked, progress=False)
        yield Path(unpacked)


def _score(results: Path, options: argparse.Namespace) -> HotaResult:
    make_pairs = kitti_pairs if options.benchmark == "kitti" else challenge_pairs
    pairs = make_pairs(
        results,
        options.GT_FOLDER,
        split=_split_of(options),
        seqmap=options.SEQMAP_FILE,
        location=options.GT_LOC_FORMAT,
    )
    wanted = {_CLASSES[name]: name for name in options.CLASSES_TO_EVAL}
    workers = options.NUM_PARALLEL_CORES if options.USE_PARALLEL else 1
    # Files and tables are those of the tool, its quirks included.
    result = evaluate_pairs(pairs, wanted, compat=True, workers=workers, progress=True)
    return replace(result, families=tuple(options.METRICS))


def _split_of(options: argparse.Namespace) -> str:
    if options.benchmark == "kitti":
        return str(options.SPLIT_TO_EVAL)
    return "" if options.SKIP_SPLIT_FOL else f"{options.BENCHMARK}-{options.SPLIT_TO_EVAL}"


def _write(result: HotaResult, output: Path, tracker: str, options: argparse.Namespace) -> None:
    wanted = {"_summary.txt": options.OUTPUT_SUMMARY, "_detailed.csv": options.OUTPUT_DETAILED}
    plots = result.scores if options.PLOT_CURVES and "HOTA" in options.METRICS else ()
    if plots or any(wanted.values()):
        check_writable(output)
    for name, text in result.files().items():
        if any(name.endswith(ending) and asked for ending, asked in wanted.items()):
            write_text(output / name, text)
    for name in plots:
        from vidseg_common.metrics.tracking_plot import write_plot

        title = f"{tracker}, {name}, {COMBINED.lower()}"
        write_plot(output / f"{name}_plot.png", result.total(name), title)


if __name__ == "__main__":
    run_cli(main)
