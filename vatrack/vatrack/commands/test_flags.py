"""Flags of the test command (spec 6)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vatrack.commands.common import add_config_flags, add_network_flags
from vatrack.commands.train_flags import DEFAULT_CONFIG
from vatrack.scoring import METRICS
from vidseg_common.arguments import ArgumentParser, did_you_mean
from vidseg_common.metrics.parallel import available_cpus, positive_int
from vidseg_common.sharding import add_shard_flags

DEFAULT_CHECKPOINT = Path("train_output/default/latest.pth")
DEFAULT_OUT = Path("test_output/default.pkl")
#: Keys of --eval-options.
EVAL_OPTIONS = ("classwise", "upstream_rows")


def build_parser() -> ArgumentParser:
    """Every flag of the original command, and those of this one."""
    parser = ArgumentParser(
        "test.py",
        description="Runs a data set through a network, writes the results, scores them. With "
        "torchrun, the processes share the videos.",
    )
    _add_model_flags(parser)
    _add_result_flags(parser)
    _add_score_flags(parser)
    _add_picture_flags(parser)
    _add_machine_flags(parser)
    return parser


def _add_model_flags(parser: ArgumentParser) -> None:
    add_config_flags(parser, DEFAULT_CONFIG, "")
    add = parser.add_argument
    add("--checkpoint", type=Path, default=DEFAULT_CHECKPOINT, metavar="FILE", help="weights")
    add(
        "--fuse-conv-bn",
        action="store_true",
        help="norms are always merged into convolutions; there for old commands",
    )
    add("--ann-file", type=Path, metavar="FILE", help="annotations instead of data.test.ann_file")
    add("--img-prefix", type=Path, metavar="DIR", help="frames instead of data.test.img_prefix")


def _add_result_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--out",
        type=Path,
        default=DEFAULT_OUT,
        metavar="FILE",
        help="results, ending in .pkl or .pickle; the same in JSON lies beside it",
    )
    add(
        "--eval-only",
        action="store_true",
        help="score the file of --out, which may be .json too; no network runs",
    )
    add("--format-only", action="store_true", help="write the results, do not score them")
    add(
        "--detections",
        action="store_true",
        help="score the detections before tracking too; masks of all of them are written",
    )
    add_shard_flags(parser, "videos")


def _add_score_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--eval",
        nargs="+",
        choices=METRICS,
        default=list(METRICS),
        metavar="METRIC",
        help=f"of {', '.join(METRICS)}: AP of boxes, AP of masks in frames and videos, MOT, and "
        "MOT with MOTS",
    )
    add(
        "--eval-options",
        nargs="+",
        type=_eval_option,
        default=[],
        metavar="KEY=VALUE",
        help="classwise=True: also AP by class; upstream_rows=True: also the MOT tables as the "
        "original sums them up",
    )
    for kind in ("visible", "amodal"):
        add(
            f"--per-video-{kind}",
            type=Path,
            metavar="FILE",
            help=f"ground truth of {kind} tracks; default: made of the annotations",
        )
    add("--workers", type=positive_int, default=available_cpus(), help="processes of the metrics")


def _add_picture_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--show", action="store_true", help="draw the results; no window is opened, see --show-dir")
    add(
        "--show-dir",
        type=Path,
        metavar="DIR",
        help="draw the results into this folder; with --show alone it is show, beside --out",
    )
    add(
        "--show_score_thr",
        "--show-score-thr",
        type=float,
        default=0.5,
        metavar="SCORE",
        help="tracks that score no more are not drawn",
    )


def _add_machine_flags(parser: ArgumentParser) -> None:
    add_network_flags(parser)
    add = parser.add_argument
    add("--num-workers", type=int, default=4, help="frames read ahead in a thread; 0: no thread")
    add("--gpu-collect", action="store_true", help="results are always collected in memory; there "
        "for old commands")  # fmt: skip
    add("--tmpdir", metavar="DIR", help="not needed; there for old commands")
    add(
        "--launcher",
        choices=("none", "pytorch", "slurm", "mpi"),
        default="none",
        help="what started this process; torchrun and srun are noticed without it",
    )
    add(
        "--local_rank",
        "--local-rank",
        type=int,
        metavar="N",
        help="number of this process on its machine, for launchers that do not set LOCAL_RANK",
    )


def _eval_option(text: str) -> tuple[str, Any]:
    """KEY=VALUE with a known key and True or False."""
    key, _, value = text.partition("=")
    if key not in EVAL_OPTIONS:
        known = ", ".join(EVAL_OPTIONS)
        raise argparse.ArgumentTypeError(
            f"no option {key!r}{did_you_mean(key, EVAL_OPTIONS) or f'; there are {known}'}"
        )
    if value.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{key}: expected True or False, got {value!r}")
    return key, value.lower() == "true"
