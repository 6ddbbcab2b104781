"""The official metric of result files. Source: spec sections 9 and 9.2."""

from __future__ import annotations

from pathlib import Path

from stmask.benchmark_data import EvalSet
from vidseg_common.datasets.youtube_vis_lazy import open_results
from vidseg_common.errors import UserError
from vidseg_common.files import write_json, write_text
from vidseg_common.logging import RunLogger
from vidseg_common.metrics.ap_result import APResult
from vidseg_common.metrics.video_ap import evaluate

SCALARS = {
    "AP": "mAP",
    "AP50": "AP50",
    "AP75": "AP75",
    "APs": "small",
    "APm": "medium",
    "APl": "large",
    "AR1": "AR1",
    "AR10": "AR10",
    "AR100": "AR100",
    "ARs": "AR100_small",
    "ARm": "AR100_medium",
    "ARl": "AR100_large",
}
"""Number of the official summary to its name in the event log, below `valid_metrics/`."""


def score(chosen: EvalSet, results: Path, *, workers: int = 1, progress: bool = False) -> APResult:
    """Video AP of a result file; OVIS by occlusion too, where the annotations tell it.

    Args:
        chosen: a data set with ground truth.
        results: the submission.
        workers: number of processes.
        progress: show a bar on stderr.

    Raises:
        UserError: the results do not fit the data set.
    """
    if not chosen.data.has_annotations:
        raise UserError(
            f"{chosen.file} has no annotations (a hidden split): nothing to score against; the "
            "challenge server scores it"
        )
    first = next((clip for clip in chosen.data.clips() if clip.tracks), None)
    knows_levels = first is not None and any(t.occlusion is not None for t in first.tracks)
    return evaluate(
        chosen.data,
        open_results(results, chosen.data),
        benchmark="ovis" if knows_levels else "ytvis",
        workers=workers,
        progress=progress,
    )


def save_scores(found: APResult, results: Path) -> list[Path]:
    """Writes numbers beside a result file, as `NAME_metrics.json` and `.txt`.

    Returns:
        The files.
    """
    base = results.with_name(f"{results.stem}_metrics")
    files = [base.with_suffix(".json"), base.with_suffix(".txt")]
    write_json(files[0], {"numbers": found.numbers, "content": found.to_json()})
    write_text(files[1], found.table())
    return files


def log_scores(found: APResult, folder: Path, iteration: int) -> None:
    """Adds the 12 numbers of YouTube-VIS to an event log, as `valid_metrics/mAP` and so on.

    Args:
        found: the scores.
        folder: of the log, which is continued where there is one.
        iteration: of the training at which the weights were saved.
    """
    numbers = {f"valid_metrics/{name}": found.numbers[key] for key, name in SCALARS.items()}
    with RunLogger(folder, "valid_metrics", console=False) as log:
        log.scalars(numbers, iteration)
