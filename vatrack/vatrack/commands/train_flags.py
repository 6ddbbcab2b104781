"""Flags of the training command (spec 6)."""

from __future__ import annotations

import argparse

from vatrack.config import BACKBONES
from vidseg_common.arguments import ArgumentParser
from vidseg_common.metrics.parallel import positive_int

#: Word that stands for no file.
NOTHING = "none"
DEFAULT_CONFIG = "QDbasedVATrack_SAILVOScut"


def build_parser() -> ArgumentParser:
    """Every flag of the original command, and those of this one."""
    parser = ArgumentParser(
        "train.py",
        description="Trains a VATrack; start it with torchrun to use several GPUs.",
    )
    _add_training_flags(parser)
    _add_start_flags(parser)
    _add_machine_flags(parser)
    return parser


def _add_training_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--config",
        default=DEFAULT_CONFIG,
        metavar="CONFIG",
        help="configuration: a file, or the name of one that comes with this package",
    )
    add("--backbone", choices=sorted(BACKBONES), help="another backbone than the configuration's")
    add(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="values that replace those of the configuration (optimizer.lr=0.005)",
    )
    add(
        "--work-dir",
        metavar="DIR",
        help="folder of checkpoints and logs; default: the configuration's, else "
        "work_dirs/<configuration>",
    )
    add("--no-validate", action="store_true", help="do not evaluate during the training")
    add(
        "--max-iters",
        type=positive_int,
        metavar="N",
        help="stop after so many iterations; the schedule stays that of the whole training",
    )


def _add_start_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--resume-from", metavar="FILE", help="checkpoint of a training to go on with")
    add(
        "--load-from",
        metavar="FILE",
        help="weights to start from, as far as they fit, or 'none' for random ones; default: the "
        "configuration's",
    )


def _add_machine_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--gpus", type=positive_int, metavar="N", help="1; more need torchrun, a process each"
    )
    group.add_argument(
        "--gpu-ids", type=_count, nargs="+", metavar="ID", help="number of the GPU to use"
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add("--amp", choices=("off", "bf16", "fp16"), help="precision; default: the configuration's")
    add("--seed", type=_count, metavar="N", help="of everything; default: the configuration's or 0")
    add("--deterministic", action="store_true", help="the same numbers again in every run")
    add(
        "--launcher",
        choices=("none", "pytorch", "slurm", "mpi"),
        default="none",
        help="what started this process; torchrun and srun are noticed without it",
    )
    add(
        "--local_rank",
        "--local-rank",
        type=_count,
        metavar="N",
        help="number of this process on its machine, for launchers that do not set LOCAL_RANK",
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, not {text!r}")
    return int(text)
