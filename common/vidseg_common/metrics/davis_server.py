"""The DAVIS evaluation as submission servers call it: two folders in, `scores.txt` out.

    python -m vidseg_common.metrics.davis_server INPUT OUTPUT

INPUT has `ref`, the data set (or a folder of annotations, SEQUENCE/NNNNN.png), and `res`, the
submitted masks. Source: spec common section 4.5.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from vidseg_common.arguments import ArgumentParser
from vidseg_common.datasets.davis import UNSUPERVISED_ANNOTATIONS, davis2017_names
from vidseg_common.datasets.records import list_folders
from vidseg_common.errors import DatasetError, run_cli
from vidseg_common.files import check_writable, write_text
from vidseg_common.metrics.davis_jf import Task, evaluate_davis
from vidseg_common.metrics.jf_result import JFResult
from vidseg_common.metrics.parallel import available_cpus, positive_int

_LINES = {
    "GlobalMean": "J&F-Mean",
    "JMean": "J-Mean",
    "JRecall": "J-Recall",
    "JDecay": "J-Decay",
    "FMean": "F-Mean",
    "FRecall": "F-Recall",
    "FDecay": "F-Decay",
}


def scores_text(result: JFResult) -> str:
    """The seven lines of `scores.txt`."""
    scores = result.global_scores
    return "".join(f"{name}: {scores[key]:f}\n" for name, key in _LINES.items())


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser(
        prog="python -m vidseg_common.metrics.davis_server",
        description="J&F of a submission; exit status 0 = scored, 2 = bad input.",
    )
    add = parser.add_argument
    add("input_dir", type=Path, help="folder with ref (ground truth) and res (submission)")
    add("output_dir", type=Path, help="folder that gets scores.txt")
    add("--set", default="test-dev", help="split, where ref is a data set with ImageSets")
    add(
        "--task",
        default="semi-supervised",
        choices=["semi-supervised", "unsupervised"],
        help="protocol",
    )
    add("--resolution", default="480p", help="folder of the annotations")
    add("--workers", "--processes", type=positive_int, default=available_cpus(), help="processes")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores a submission and writes `scores.txt`.

    Args:
        arguments: command line without the program, those of the process by default.

    Returns:
        0, the exit status.

    Raises:
        UserError: bad input, all problems in one message.
        OSError: the file cannot be written.
    """
    options = build_parser().parse_args(arguments)
    reference, results = options.input_dir / "ref", options.input_dir / "res"
    missing = [str(folder) for folder in (reference, results) if not folder.is_dir()]
    if missing:
        raise DatasetError(f"folder not found: {', '.join(missing)}")
    out = check_writable(options.output_dir)
    gt_root, sequences = _ground_truth(reference, options.set, options.task, options.resolution)
    result = evaluate_davis(
        gt_root,
        results,
        sequences,
        task=options.task,
        workers=options.workers,
        progress=False,
    )
    for warning in result.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    text = scores_text(result)
    write_text(out / "scores.txt", text)
    sys.stdout.write(text)
    return 0


def _ground_truth(
    reference: Path, split: str, task: Task, resolution: str
) -> tuple[Path, list[str]]:
    """Folder of the annotations and the sequences to score."""
    folder = UNSUPERVISED_ANNOTATIONS if task == "unsupervised" else "Annotations"
    annotations = reference / folder / resolution
    if not annotations.is_dir():
        return reference, list_folders(reference)
    if not (reference / "ImageSets").is_dir():
        return annotations, list_folders(annotations)
    return annotations, davis2017_names(reference, split, task == "unsupervised")


if __name__ == "__main__":
    run_cli(main)
