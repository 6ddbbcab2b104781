"""`vidseg evaluate`: results scored by a metric; table, JSON, CSV and an HTML report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidseg_common.arguments import ArgumentParser
from vidseg_common.commands.common import (
    add_quiet_flag,
    add_split_flags,
    chosen_format,
    open_data,
    say,
    shows_progress,
    warn,
)
from vidseg_common.conversion import select_videos
from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.datasets.records import other_videos_notes
from vidseg_common.datasets.youtube_vis_lazy import open_annotations, open_results
from vidseg_common.errors import DatasetError, UserError
from vidseg_common.evaluation_report import Pictures, write_evaluation
from vidseg_common.files import check_writable
from vidseg_common.metric_registry import METRICS, Metric, Scores, find_metric
from vidseg_common.metrics.parallel import available_cpus, positive_int

_IOU_TYPES = {"box": "bbox", "mask": "segm"}
_FORMATS_BY_VIDEO = [
    *(("ytvis2019", "ytvis-results"), ("ytvis2021", "ytvis-results"), ("ovis", "ovis-results"))
]
_OWN_OPTIONS = ("resolution", "void", "all_frames", "seen", "masks", "class_agnostic")
Sets = tuple[AnnotationSet, AnnotationSet]


def build_parser() -> ArgumentParser:
    """The flags."""
    parser = ArgumentParser(
        "vidseg evaluate", description="Score results; exit status 0 = scored, 2 = bad input."
    )
    add = parser.add_argument
    add("--metric", required=True, metavar="NAME", help=", ".join(METRICS))
    add("--gt", type=Path, required=True, metavar="PATH", help="ground truth")
    add("--pred", type=Path, required=True, metavar="PATH", help="results")
    add("--gt-format", metavar="NAME", help="format of the ground truth (default: by metric)")
    add("--pred-format", metavar="NAME", help="format of the results (default: by metric)")
    add("-o", "--output", type=Path, metavar="DIR",
        help="folder for result.json, table.txt, CSV files and report.html")  # fmt: skip
    add("--images", type=Path, metavar="DIR", help="images for the pictures of the report")
    add("--videos", nargs="+", metavar="NAME", help="only these videos")
    add_split_flags(parser)
    add("--workers", type=positive_int, default=available_cpus(), help="processes")
    add("--worst", type=int, default=5, metavar="N", help="worst videos in the report")
    add("--frames", type=int, default=3, metavar="N", help="worst frames of each")
    add("--min-score", type=float, default=0.3, metavar="X", help="worse ones are not drawn")
    add("--class-agnostic", action="store_true", default=None, help="pool categories (coco)")
    add("--masks", choices=["visible", "amodal"],
        help="which masks are compared (sailvos-mot: visible, else all there are); those of "
        "SAIL-VOS results with one kind are taken as this kind")  # fmt: skip
    tracks = parser.add_argument_group("metrics of tracking")
    tracks.add_argument("--iou-type", choices=list(_IOU_TYPES),
                        help="compare boxes or masks (mot: box, sailvos-mot: mask)")  # fmt: skip
    folders = parser.add_argument_group("metrics on folders of masks")
    folders.add_argument("--resolution", metavar="NAME", help="folder of DAVIS masks (480p)")
    folders.add_argument("--void", type=int, metavar="N", help="value that means no label (folder)")
    folders.add_argument("--all-frames", action="store_true", default=None,
                         help="score the given first frame too (folder, youtube-vos)")  # fmt: skip
    folders.add_argument("--seen", type=Path, metavar="META.json",
                         help="meta file of the training categories (youtube-vos)")  # fmt: skip
    add_quiet_flag(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Scores results.

    Returns:
        0, the exit status.

    Raises:
        UserError: bad input; all problems that were met are listed.
        OSError: a file cannot be written.
    """
    words = list(sys.argv[2:] if argv is None else argv)
    options = build_parser().parse_args(words)
    metric = find_metric(options.metric)
    for path in (options.gt, options.pred):
        if not path.exists():
            raise UserError(f"nothing at {path}")
    if options.output is not None:
        _check_output(options)
    scores, sets = _score(metric, options)
    notes = list(getattr(scores, "warnings", ()))
    if sets is not None:
        notes += _notes_on_results(sets[1], options)
    warn(notes)
    say(scores.table().rstrip("\n"))
    if options.output is None:
        return 0
    pictures, remarks = _pictures(metric, options, sets)
    files = write_evaluation(
        options.output,
        metric,
        scores,
        command=["vidseg", "evaluate", *words],
        pictures=pictures,
        notes=[*notes, *remarks],
        progress=shows_progress(options),
    )
    say("", *(f"  {path}" for path in files))
    return 0


def _notes_on_results(found: AnnotationSet, options: argparse.Namespace) -> list[str]:
    """What the user should know of the results beside their score."""
    notes = other_videos_notes(found.info.get("other_videos", []))
    if options.masks is None and found.info.get("masks") == "visible":
        notes.append("the results have one kind of masks, taken as visible ones (--masks amodal "
                     "takes them as amodal)")  # fmt: skip
    return notes


def _check_output(options: argparse.Namespace) -> None:
    """Makes sure that the report can be written, and not among the masks or annotations."""
    inputs = {path.resolve() for path in (options.gt, options.pred)}
    if options.output.resolve() in inputs:
        raise UserError(f"the output {options.output} is an input; choose another folder")
    check_writable(options.output)


def _score(metric: Metric, options: argparse.Namespace) -> tuple[Scores, Sets | None]:
    asked: dict[str, Any] = {name: getattr(options, name) for name in _OWN_OPTIONS}
    asked |= {"workers": options.workers, "progress": shows_progress(options)}
    asked["iou_type"] = _IOU_TYPES.get(options.iou_type)
    if metric.on_folders:
        asked |= {"split": options.split, "videos": options.videos}
        return metric.evaluate_folders(options.gt, options.pred, **asked), None
    sets = _read(metric, options)
    return metric.evaluate(*sets, **asked), sets


def _read(metric: Metric, options: argparse.Namespace) -> Sets:
    """Ground truth and results as annotation sets."""
    if _reads_by_video(metric, options):
        form = chosen_format(options.gt_format or metric.truth, options.gt)
        truth = open_annotations(
            options.gt, images=options.images or form.image_root(options.gt, None)
        )
    else:
        truth, _ = open_data(
            options, options.gt, name=options.gt_format or metric.truth, images=options.images
        )
    if not truth.has_annotations:
        raise UserError(
            f"{options.gt} has no annotations (a hidden split): nothing to score against; "
            "`vidseg validate` checks the results and `vidseg pack` makes the submission"
        )
    asked, options.split = options.split, None
    name = options.pred_format or metric.results
    if _reads_by_video(metric, options):
        found = open_results(options.pred, truth)
    else:
        found, _ = open_data(options, options.pred, name=name, truth=truth)
    options.split = asked
    if options.videos is None:
        return truth, found
    return select_videos(truth, options.videos), select_videos(found, options.videos)


def _reads_by_video(metric: Metric, options: argparse.Namespace) -> bool:
    """Whether files are of a form whose tracks are read where their video is scored."""
    formats = (options.gt_format or metric.truth, options.pred_format or metric.results)
    are_files = options.gt.is_file() and options.pred.is_file() and not options.split
    return metric.module == "video_ap" and are_files and formats in _FORMATS_BY_VIDEO


def _pictures(
    metric: Metric, options: argparse.Namespace, sets: Sets | None
) -> tuple[Pictures | None, list[str]]:
    """What the pictures are made of, and remarks about them."""
    if options.worst < 1 or options.frames < 1:
        return None, []
    if sets is None:
        try:
            sets = _read(metric, options)
        except DatasetError as error:
            # The score stands; masks that only the metric accepts cannot be drawn.
            return None, [f"no pictures: {error}"]
    remarks = [] if sets[0].image_root else ["no images known (--images): masks are on grey"]
    return Pictures(*sets, options.worst, options.frames, options.min_score), remarks
