"""`devis train`: one training, on one GPU, on many, or on the CPU (spec section 7)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from devis.commands.train_flags import LATEST, add_original_flags, add_training_flags, parse
from devis.config import Config, dump_yaml, load_config, update
from devis.data.build import train_dataset
from devis.engine import Trainer
from devis.resume import NEWEST
from devis.session import Interrupted, NonFiniteLossError, TrainOptions
from vidseg_common import distributed
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import CheckpointError, UserError
from vidseg_common.files import OutputLock, check_writable

#: How long processes wait for each other: one of them may score results meanwhile.
_TIMEOUT_MINUTES = 180
#: Configuration written beside the checkpoints.
CONFIG_NAME = "config.yaml"


def main(argv: Sequence[str] | None = None) -> int:
    """Trains a configuration.

    Returns:
        0, or 1 when Ctrl-C, SIGTERM or SIGUSR1 stopped the training, or the loss was not finite.

    Raises:
        UserError: flags, configuration, data, weights or device are unusable.
    """
    args = parse(_parser(), argv)
    cfg = resumed(load_config(args.config_file, args.opts), args.resume)
    dist = start_processes(cfg, args)
    try:
        return train(cfg, args, dist)
    finally:
        distributed.cleanup()


def train(cfg: Config, args: argparse.Namespace, dist: distributed.DistInfo) -> int:
    """Trains in a process group that is there already.

    Args:
        cfg: of the training.
        args: what `add_training_flags` gave.
        dist: place of this process.

    Raises:
        UserError: as `main`.
    """
    folder = Path(cfg.OUTPUT_DIR)
    try:
        with ExitStack() as stack:
            if dist.is_main:
                stack.enter_context(OutputLock(check_writable(folder)))
            dataset = train_dataset(cfg, progress=dist.is_main and sys.stderr.isatty())
            trainer = Trainer(cfg, dataset, dist, folder, training_options(args))
            if dist.is_main:
                dump_yaml(cfg, folder / CONFIG_NAME)
            trainer.run()
    except (Interrupted, NonFiniteLossError) as stop:
        if dist.is_main:
            sys.stderr.write(f"{stop}\n")
        return stop.status
    return 0


def start_processes(cfg: Config, args: argparse.Namespace) -> distributed.DistInfo:
    """Joins the process group of a launcher, if there is one.

    Args:
        cfg: its seed becomes that of hashes in sub-processes.
        args: what `add_original_flags` gave.

    Raises:
        UserError: no such device, or --dist-url is of another kind.
    """
    url = urlsplit(args.dist_url)
    if url.scheme == "tcp" and url.hostname and url.port:
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = url.hostname, str(url.port)
    elif url.scheme != "env":
        raise UserError(f"--dist-url {args.dist_url}: expected env:// or tcp://HOST:PORT")
    os.environ["PYTHONHASHSEED"] = str(cfg.SEED)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:2")
    dist = distributed.setup(args.device, timeout_minutes=_TIMEOUT_MINUTES)
    if args.deterministic and dist.device.type == "cuda":
        raise UserError(
            "--deterministic: on a GPU the gradients of deformable attention and convolutions have "
            "no deterministic form; expected --device cpu with it"
        )
    if dist.is_main and dist.world_size == 1:
        sys.stdout.write("Not using distributed mode\n")
    return dist


def resumed(cfg: Config, resume: str | None) -> Config:
    """The configuration with what `--resume` stands for.

    Raises:
        CheckpointError: there is no checkpoint to continue.
    """
    if resume is None:
        return cfg
    path = Path(cfg.OUTPUT_DIR) / NEWEST if resume == LATEST else Path(resume)
    if not path.is_file():
        raise CheckpointError(f"--resume {resume}: no file {path}")
    return update(cfg, ["MODEL.WEIGHTS", str(path), "SOLVER.RESUME_OPTIMIZER", True])


def training_options(args: argparse.Namespace) -> TrainOptions:
    """What `add_training_flags` ask for."""
    return TrainOptions(
        amp=args.amp,
        accumulate=args.accumulate,
        checkpointing=args.gradient_checkpointing,
        backbone=args.backbone_weights,
        deterministic=args.deterministic,
    )


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        "devis train",
        description="Trains a model; start it with torchrun to use several GPUs.",
    )
    add_original_flags(parser)
    add_training_flags(parser)
    return parser
