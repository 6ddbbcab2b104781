"""`training/main.py`: one training stage, with the flags of the original tool (spec 5.2)."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from stemseg.commands.common import count, say
from stemseg.config import Config, dump_yaml, load_config
from stemseg.data.environment import MODELS, folder_of
from stemseg.data.setup import build_dataset
from stemseg.engine import Trainer
from stemseg.resume import latest_checkpoint
from stemseg.session import Interrupted, Start, TrainOptions
from stemseg.training_log import LEVELS, VERBOSE
from vidseg_common import distributed
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import CheckpointError
from vidseg_common.files import OutputLock, check_writable
from vidseg_common.metrics.parallel import positive_int

#: Configuration written beside the checkpoints; inference finds it there.
CONFIG_NAME = "config.yaml"


def main(argv: Sequence[str] | None = None) -> int:
    """Trains a stage.

    Returns:
        0, or 1 when Ctrl-C, SIGTERM or SIGUSR1 stopped the training, which has saved then.

    Raises:
        UserError: flags, configuration, data, weights or device are unusable, or the loss is not
            finite.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    args = _parser().parse_args(words)
    cfg = load_config(args.cfg, opts=args.opts)
    if args.allow_multigpu and _num_processes(args.device) > 1:
        return _launch(words, args.master_port, _num_processes(args.device))
    if "RANK" in os.environ:
        # Older launchers pass the flag alone.
        os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    dist = distributed.setup(args.device)
    try:
        return _train(args, cfg, dist)
    except Interrupted as stop:
        if dist.is_main:
            sys.stderr.write(f"{stop}\n")
        return stop.status
    finally:
        distributed.cleanup()


def _num_processes(device: str) -> int:
    """How many processes are still to be started; 1 inside a launcher, or without several GPUs."""
    if distributed.read_launch(os.environ) is not None or device not in ("auto", "cuda"):
        return 1
    return torch.cuda.device_count() if torch.cuda.is_available() else 1


def _launch(words: Sequence[str], port: int, num_processes: int) -> int:
    """Runs the same command once for each GPU."""
    launcher = [
        *(sys.executable, "-m", "torch.distributed.run"),
        f"--nproc-per-node={num_processes}",
        f"--master-port={port}",
        *("--module", "stemseg", "train"),
    ]
    process = subprocess.Popen([*launcher, *words])
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # Ctrl-C reaches the launcher too; its processes save before they leave.
            continue


def _train(args: argparse.Namespace, cfg: Config, dist: distributed.DistInfo) -> int:
    folder = model_folder(args.model_dir, cfg)
    start = choose_start(args, cfg, folder)
    if dist.is_main and args.initial_ckpt is not None and start.weights is None:
        say(f"--initial_ckpt is not used: {folder} has a checkpoint to continue (or --no_resume)")
    options = TrainOptions(
        start=start,
        # What the original shows on its debug level is every iteration.
        display_interval=1 if args.log_level in VERBOSE else args.display_interval,
        summary_interval=args.summary_interval,
        save_interval=args.save_interval,
        ckpts_to_keep=args.ckpts_to_keep,
        num_workers=args.num_cpu_workers,
        log_level=args.log_level if dist.is_main else args.subprocess_log_level,
        amp=args.amp,
        seed=args.seed,
        deterministic=args.deterministic,
    )
    with ExitStack() as stack:
        if dist.is_main:
            stack.enter_context(OutputLock(check_writable(folder)))
        training = cfg.TRAINING
        dataset = build_dataset(cfg, training.MAX_ITERATIONS * training.BATCH_SIZE, seed=args.seed)
        trainer = Trainer(cfg, dataset, dist, folder, options)
        if dist.is_main:
            dump_yaml(cfg, folder / CONFIG_NAME)
        trainer.run()
    return 0


def model_folder(name: Path, cfg: Config) -> Path:
    """Where a training writes: `$STEMSEG_MODELS_DIR/checkpoints/MODE/NAME`, or a whole path.

    Raises:
        ConfigError: the environment variable is not set.
        DatasetError: it names no folder.
    """
    if name.is_absolute():
        return name
    return folder_of(MODELS) / "checkpoints" / cfg.TRAINING.MODE / name


def choose_start(args: argparse.Namespace, cfg: Config, folder: Path) -> Start:
    """What to begin with: a session, else given weights, else the pre-trained backbone.

    Args:
        args: `restore_session`, `initial_ckpt` and `no_resume` are read.
        cfg: names the file of the backbone; an empty name is random weights.
        folder: of the model; its last checkpoint is continued unless told otherwise.

    Raises:
        CheckpointError: there is no backbone file.
    """
    if args.restore_session is not None:
        return Start(session=args.restore_session)
    found = None if args.no_resume else latest_checkpoint(folder)
    if found is not None:
        return Start(session=found)
    if args.initial_ckpt is not None:
        return Start(weights=args.initial_ckpt)
    name = cfg.MODEL.BACKBONE.PRETRAINED_WEIGHTS
    if not name:
        return Start()
    path = folder_of(MODELS) / "pretrained" / name
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; put the backbone's weights there (stemseg download), give "
            "whole weights with --initial_ckpt, or start from random ones with "
            "--opts MODEL.BACKBONE.PRETRAINED_WEIGHTS ''"
        )
    return Start(backbone=path)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        "training/main.py",
        description="Trains a stage of STEm-Seg; start it with torchrun, or with --allow_multigpu "
        "for all GPUs of this machine.",
    )
    parser.add_argument(
        "--model_dir",
        type=Path,
        required=True,
        help="folder of the checkpoints, in $STEMSEG_MODELS_DIR/checkpoints/<TRAINING.MODE>",
    )
    parser.add_argument(
        "--cfg", required=True, help="configuration: a file, or a name of stemseg/configs"
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--restore_session", type=Path, help="checkpoint to continue")
    start.add_argument("--initial_ckpt", type=Path, help="weights to start from")
    parser.add_argument(
        "--no_resume", action="store_true", help="do not continue the checkpoint in model_dir"
    )
    _add_process_flags(parser)
    _add_report_flags(parser)
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="keys of the configuration with their values, at the end",
    )
    return parser


def _add_process_flags(parser: ArgumentParser) -> None:
    parser.add_argument("--allow_multigpu", action="store_true", help="one process for each GPU")
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help="set by the launcher"
    )
    parser.add_argument("--master_port", type=int, default=12356, help="of --allow_multigpu")
    parser.add_argument("--num_cpu_workers", type=count, default=8, help="loader processes")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument(
        "--amp",
        choices=("auto", "bf16", "fp16"),
        default="auto",
        help="with TRAINING.MIXED_PRECISION; auto is fp16 on a GPU and bf16 on a CPU",
    )
    parser.add_argument("--seed", type=count, default=42, help="of everything")
    parser.add_argument(
        "--deterministic", action="store_true", help="the same numbers again in every run"
    )


def _add_report_flags(parser: ArgumentParser) -> None:
    for name, default, what in (
        ("display_interval", 5, "console line"),
        ("summary_interval", 10, "point of the curves"),
        ("save_interval", 10_000, "checkpoint"),
    ):
        parser.add_argument(
            f"--{name}", type=positive_int, default=default, help=f"iterations per {what}"
        )
    parser.add_argument(
        "--ckpts_to_keep", type=count, default=2, help="newest checkpoints that stay; 0 keeps all"
    )
    levels = tuple(LEVELS)
    parser.add_argument("--log_level", choices=levels, default="info", help="of the console")
    parser.add_argument(
        "--subprocess_log_level", choices=levels, default="warn", help="of the other processes"
    )
