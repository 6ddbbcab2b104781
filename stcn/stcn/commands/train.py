"""`train.py`: one training stage, with the flags of the original tool (spec section 6.1)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from stcn.config import CONFIGS, TrainConfig
from stcn.engine import RunFolder, Trainer
from stcn.stopping import Interrupted
from vidseg_common import distributed
from vidseg_common.config import ArgumentParser, apply_overrides, dump_yaml, load_yaml
from vidseg_common.errors import ConfigError
from vidseg_common.files import OutputLock, check_writable
from vidseg_common.logging import run_name

#: The experiment name that disables TensorBoard and saving.
NO_EXPERIMENT = "NULL"
#: Flags that set a key of the configuration.
KEYS = {
    "static_root": "data.static_root",
    "bl_root": "data.bl_root",
    "yv_root": "data.yv_root",
    "davis_root": "data.davis_root",
    "num_workers": "data.num_workers",
    "batch_size": "batch_size",
    "iterations": "iterations",
    "steps": "steps",
    "lr": "lr",
    "gamma": "gamma",
    "seed": "seed",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Trains a stage.

    Returns:
        0, or 128 + the number of the signal that stopped the training (130 Ctrl-C, 143 SIGTERM, 138
        SIGUSR1).

    Raises:
        UserError: flags, configuration, data, weights or device are unusable, or the loss is not
            finite.
    """
    args = _parser().parse_args(argv)
    config = build_config(args)
    dist = distributed.setup(args.device)
    try:
        return _train(args, config, dist)
    except Interrupted as stop:
        if dist.is_main:
            sys.stderr.write(f"{stop}\n")
        return stop.status
    finally:
        distributed.cleanup()


def build_config(args: argparse.Namespace) -> TrainConfig:
    """The configuration file, then flags, then KEY VALUE pairs.

    Raises:
        ConfigError: unknown key, value of another type, or values that do not go together.
    """
    path = args.config or CONFIGS / f"stage{args.stage or 0}.yaml"
    config = load_yaml(TrainConfig, path)
    if args.stage not in (None, config.stage):
        raise ConfigError(f"--stage {args.stage} does not go with {path}, of stage {config.stage}")
    given: list[Any] = []
    for flag, key in KEYS.items():
        value = getattr(args, flag)
        if value is not None:
            given += [key, value]
    if args.no_amp:
        given += ["amp", "off"]
    if args.deterministic:
        given += ["deterministic", True]
    config = apply_overrides(config, [*given, *args.overrides])
    config.check()
    return config


def _train(args: argparse.Namespace, config: TrainConfig, dist: distributed.DistInfo) -> int:
    if args.benchmark and not config.deterministic:
        torch.backends.cudnn.benchmark = True
    folder = RunFolder("", None, None)
    if args.id != NO_EXPERIMENT:
        folder = RunFolder(run_name(args.id), args.saves, args.logs, args.id)
    with ExitStack() as stack:
        if folder.saves is not None and dist.is_main:
            check_writable(folder.saves)
            check_writable(args.logs)
        trainer = Trainer(
            config,
            dist,
            folder,
            load_network=args.load_network,
            load_model=args.load_model,
            debug=args.debug,
        )
        if folder.saves is not None and dist.is_main:
            stack.enter_context(OutputLock(folder.saves / folder.name))
            dump_yaml(config, folder.saves / folder.name / f"{folder.name}_config.yaml")
        trainer.run()
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        "train.py",
        description="Trains a stage of STCN; start it with torchrun for several GPUs or nodes.",
    )
    parser.add_argument("--benchmark", action="store_true", help="let cuDNN choose by timing")
    parser.add_argument("--no_amp", action="store_true", help="no mixed precision")
    _add_data_flags(parser)
    _add_schedule_flags(parser)
    parser.add_argument("--load_network", type=Path, help="weights to start from")
    parser.add_argument("--load_model", type=Path, help="*_checkpoint.pth to continue")
    parser.add_argument(
        "--id", default=NO_EXPERIMENT, help="name; NULL writes no curves and saves nothing"
    )
    parser.add_argument(
        "--debug", action="store_true", help="report and draw each iteration, no save at the end"
    )
    parser.add_argument("--config", type=Path, help="YAML file (default: that of the stage)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--seed", type=int, help="of everything")
    parser.add_argument(
        "--deterministic", action="store_true", help="the same numbers again in every run"
    )
    parser.add_argument("--saves", type=Path, default=Path("saves"), help="folder of weights")
    # Under torchrun, `--logs` alone would be taken for an abbreviation of a flag of torchrun's own.
    parser.add_argument(
        "--log_folder", "--logs", dest="logs", type=Path, default=Path("log"), help="of curves"
    )
    # Older launchers pass it; what counts is the environment variable they set as well.
    parser.add_argument("--local_rank", "--local-rank", help=argparse.SUPPRESS)
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY VALUE", help="keys of the configuration, at the end"
    )
    return parser


def _add_data_flags(parser: ArgumentParser) -> None:
    for flag, what in (("static", "static images"), ("bl", "BL30K"), ("yv", "YouTube-VOS")):
        parser.add_argument(f"--{flag}_root", type=Path, help=f"folder of {what}")
    parser.add_argument("--davis_root", type=Path, help="folder of DAVIS, holding 2017/trainval")
    parser.add_argument("--num_workers", type=int, help="loader processes per training process")


def _add_schedule_flags(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--stage",
        type=int,
        choices=(0, 1, 2, 3),
        help="0 static images (default), 1 BL30K, 2 main after 1, 3 main after 0",
    )
    parser.add_argument("-b", "--batch_size", type=int, help="samples per process")
    parser.add_argument("-i", "--iterations", type=int, help="steps of the optimiser")
    parser.add_argument(
        "--steps", type=int, nargs="+", help="iterations at which the learning rate falls"
    )
    parser.add_argument("--lr", type=float, help="learning rate")
    parser.add_argument("--gamma", type=float, help="factor at each of --steps")
