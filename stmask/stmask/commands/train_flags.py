"""Flags of the training command (spec 10.5)."""

from __future__ import annotations

import argparse
from pathlib import Path

from stmask.commands.flags import add_boolean
from stmask.feed import DEFAULT_SEED
from stmask.schedules import DEFAULT_RATE
from vidseg_common.config import ArgumentParser
from vidseg_common.metrics.parallel import positive_int

#: Flags that are accepted because original command lines have them; they do nothing.
INERT = ("eval_batch_size", "backbone.pred_scales_num")


def build_parser() -> ArgumentParser:
    """Every flag of the original command, and those of this one."""
    parser = ArgumentParser(
        "train.py",
        description="Trains an STMask; start it with torchrun to use several GPUs.",
    )
    _add_training_flags(parser)
    _add_start_flags(parser)
    _add_rate_flags(parser)
    _add_saving_flags(parser)
    _add_machine_flags(parser)
    return parser


def _add_training_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--config",
        default="STMask_plus_base_config",
        metavar="NAME",
        help="configuration: a name, or a YAML file",
    )
    add("--train_dataset", metavar="NAME", help="another data set than the configuration's")
    add(
        "--batch_size",
        type=positive_int,
        default=8,
        metavar="N",
        help="clips of two frames per step, over all GPUs",
    )
    add(
        "--batch_alloc",
        type=_numbers,
        metavar="N,N,...",
        help="clips of every share of a batch, each with its own losses, one or more shares for "
        "each GPU; several on one GPU need less memory; default: equal shares, one for each GPU",
    )
    add(
        "--no_autoscale",
        action="store_true",
        help="do not divide the iterations of the configuration by 2 * batch_size / 8",
    )
    add("--max_iter", type=positive_int, metavar="N", help="iterations; default: configuration")
    add(
        "--train_bn",
        action="store_true",
        help="batch norm uses the statistics of the batch and is trained; default: frozen",
    )
    add("--eval_batch_size", type=int, metavar="N", help="accepted, does nothing")
    add("--backbone.pred_scales_num", type=int, metavar="N", help="accepted, does nothing")


def _add_start_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--start_from",
        metavar="PATH",
        help="COCO detector or ImageNet backbone to start from, or 'none' for random weights; "
        "default: the configuration's file in weights/pretrained_models_coco",
    )
    add(
        "--resume",
        metavar="PATH",
        help="checkpoint to continue; 'latest' and 'interrupt' look in --save_folder",
    )
    add(
        "--start_iter",
        type=int,
        default=-1,
        metavar="N",
        help="with --resume, the iteration to go on at; -1: that of the checkpoint",
    )


def _add_rate_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--lr",
        "--learning_rate",
        type=_number,
        metavar="RATE",
        help=f"learning rate after the warm-up; default: {DEFAULT_RATE}, whatever the "
        "configuration says",
    )
    add(
        "--scale_lr",
        action="store_true",
        help="without --lr: multiply the learning rate by 2 * batch_size / 8",
    )
    add("--momentum", type=_number, default=0.9, help="of SGD")
    add("--decay", "--weight_decay", type=_number, default=1e-4, help="weight decay")
    add("--gamma", type=_number, help="factor of the rate at each step; default: configuration")


def _add_saving_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--save_folder",
        type=Path,
        default=Path("weights/weights_temp/"),
        help="folder of checkpoints and logs",
    )
    add("--save_interval", type=positive_int, default=10_000, help="iterations per checkpoint")
    add(
        "--save_from_epoch",
        type=_count,
        default=0,
        metavar="N",
        help="first epoch with checkpoints (7 in the original)",
    )
    add("--keep_latest", action="store_true", help="a checkpoint replaces the one before it")
    add(
        "--keep_latest_interval",
        type=_count,
        default=100_000,
        metavar="N",
        help="except those whose iteration is a multiple of this; 0: no exception",
    )
    add("--no_interrupt", action="store_true", help="do not save when the training is stopped")
    add(
        "--validation_epoch",
        type=int,
        default=1,
        metavar="N",
        help="score every checkpoint on valid_sub; 0 or less: do not",
    )
    add("--output_json", action="store_true", help="keep the results of that")
    add("--no_log", action="store_true", help="write no log files")
    add("--log_gpu", action="store_true", help="list the GPUs in the log")


def _add_machine_flags(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add_boolean(parser, "--cuda", default=True, help="false: the CPU whatever --device says")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add("--amp", choices=("off", "bf16", "fp16"), default="off", help="precision of the network")
    add("--num_workers", type=_count, default=2, metavar="N", help="loader processes per GPU")
    add("--seed", type=_count, default=DEFAULT_SEED, metavar="N", help="of everything")
    add("--deterministic", action="store_true", help="the same numbers again in every run")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, not {text!r}")
    return int(text)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number from 0 on, not {text!r}")
    return value


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers like 3,5, not {text!r}") from None
