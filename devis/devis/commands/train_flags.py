"""Flags of the commands that train (spec section 1)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from devis.backbone_start import RANDOM
from vidseg_common.config import ArgumentParser
from vidseg_common.metrics.parallel import positive_int

#: Word that continues the newest checkpoint of the output folder.
LATEST = "latest"


def add_original_flags(parser: ArgumentParser) -> None:
    """Those of the original program."""
    add = parser.add_argument
    add(
        "--config-file",
        required=True,
        metavar="FILE",
        help="configuration: a file, or the name of one of configs/",
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add(
        "--world-size",
        type=positive_int,
        default=1,
        metavar="N",
        help="accepted, does nothing: torchrun and SLURM say how many processes there are",
    )
    add(
        "--dist-url",
        default="env://",
        metavar="URL",
        help="where several processes meet: env:// (as torchrun says) or tcp://HOST:PORT",
    )
    add(
        "opts",
        nargs="*",
        metavar="KEY VALUE",
        help="change keys of the configuration, such as SOLVER.EPOCHS 5",
    )


def add_training_flags(parser: ArgumentParser) -> None:
    """Those that the original program does not have."""
    add = parser.add_argument
    add(
        "--resume",
        metavar="FILE",
        help=f"checkpoint to continue, or '{LATEST}' for the one in OUTPUT_DIR; the same as "
        "MODEL.WEIGHTS FILE SOLVER.RESUME_OPTIMIZER True",
    )
    add(
        "--backbone-weights",
        type=Path,
        metavar="FILE",
        help="ImageNet weights to start from when MODEL.WEIGHTS is empty; default: the usual file, "
        f"fetched on first use; '{RANDOM}' starts from random weights",
    )
    add("--amp", choices=("off", "bf16", "fp16"), default="off", help="precision of the network")
    add(
        "--accumulate",
        type=positive_int,
        default=1,
        metavar="N",
        help="backward passes per step; N on one GPU do what N GPUs do",
    )
    add(
        "--gradient-checkpointing",
        action="store_true",
        help="compute parts of the forward pass twice: less memory, more time",
    )
    add("--deterministic", action="store_true", help="the same numbers in every run; not on GPUs")


def parse(parser: ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses a command line whose KEY VALUE pairs may stand between and behind flags.

    Raises:
        SystemExit: with status 2 after one line on stderr, or 0 after --help.
    """
    args, more = parser.parse_known_args(argv)
    if any(word.startswith("--") for word in more):
        return parser.parse_args(argv)  # which tells the nearest flag
    args.opts = [*args.opts, *more]
    return args
