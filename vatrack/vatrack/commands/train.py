"""`tools/train.py` and `vatrack train`: one training, on a GPU, on many, on the CPU (spec 5, 6)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vatrack.commands.launch import check_launch
from vatrack.commands.train_flags import NOTHING, build_parser
from vatrack.config import (
    Config,
    dataset_settings,
    load_config,
    loss_settings,
    model_settings,
    train_settings,
)
from vatrack.data.pairs import PairDataset
from vatrack.engine import Trainer
from vatrack.session import Interrupted, Plan, RunOptions
from vatrack.train_settings import TrainSettings
from vatrack.validation import Validation
from vidseg_common import distributed
from vidseg_common.errors import CheckpointError, ConfigError, UserError
from vidseg_common.files import OutputLock, check_writable, write_text

__all__ = ["build_parser", "main"]

#: How long processes wait for each other: one of them evaluates meanwhile.
_TIMEOUT_MINUTES = 180


def main(argv: Sequence[str] | None = None) -> int:
    """Trains a configuration.

    Returns:
        0, or 1 when Ctrl-C, SIGTERM or SIGUSR1 stopped the training.

    Raises:
        UserError: flags, configuration, data, weights or device are unusable.
    """
    args = build_parser().parse_args(argv)
    cfg = load_config(args.config, args.cfg_options, backbone=args.backbone)
    settings = training_settings(args, cfg)
    folder = work_dir(args, cfg, settings)
    check_launch(args)
    dist = distributed.setup(_device(args), timeout_minutes=_TIMEOUT_MINUTES)
    try:
        return _train(args, cfg, settings, folder, dist)
    except Interrupted as stop:
        if dist.is_main:
            sys.stderr.write(f"{stop}\n")
        return stop.status
    finally:
        distributed.cleanup()


def training_settings(args: argparse.Namespace, cfg: Config) -> TrainSettings:
    """The numbers of the configuration, with what the flags say over them.

    Raises:
        CheckpointError: a file to start from does not exist.
        ConfigError: a value does not fit.
    """
    settings = train_settings(cfg)
    changes: dict[str, Any] = {"seed": (settings.seed or 0) if args.seed is None else args.seed}
    for name in ("load_from", "resume_from"):
        given = getattr(args, name)
        if given is not None:
            changes[name] = None if given == NOTHING else given
    if args.load_from == NOTHING:
        changes["pretrained"] = None
    settings = replace(settings, **changes)
    for flag, path in (("resume", settings.resume_from), ("load", settings.load_from)):
        if path is not None and "://" not in path and not Path(path).is_file():
            raise CheckpointError(
                f"{path}: no such file; name another one with --{flag}-from, or use "
                f"--{flag}-from {NOTHING}"
            )
        if flag == "resume" and path is not None:
            break  # what the training once started from is not read again
    return settings


def work_dir(args: argparse.Namespace, cfg: Config, settings: TrainSettings) -> Path:
    """Folder of checkpoints and logs: of the flag, of the configuration, or named after it."""
    chosen = args.work_dir or settings.work_dir
    return Path(chosen) if chosen else Path("work_dirs") / cfg.path.stem


def _train(
    args: argparse.Namespace,
    cfg: Config,
    settings: TrainSettings,
    folder: Path,
    dist: distributed.DistInfo,
) -> int:
    plan = Plan(model_settings(cfg), loss_settings(cfg), settings, cfg.text)
    options = RunOptions(
        amp=args.amp,
        deterministic=args.deterministic,
        max_iters=args.max_iters,
        facts=_facts(cfg, dist),
    )
    with ExitStack() as stack:
        if dist.is_main:
            stack.enter_context(OutputLock(check_writable(folder)))
            write_text(folder / cfg.path.name, cfg.text)
        parts = dataset_settings(cfg, "train")
        plan = replace(plan, classes=parts[0].classes)
        dataset = PairDataset(parts, progress=dist.is_main and sys.stderr.isatty())
        validation = None if args.no_validate or not dist.is_main else _validation(cfg)
        Trainer(plan, dataset, dist, folder, options, validation).run()
    return 0


def _validation(cfg: Config) -> Validation | None:
    """What scores the epochs; None, with a word about it, where the data is not there."""
    try:
        return Validation(cfg)
    except UserError as error:
        sys.stderr.write(f"warning: epochs are not evaluated: {error}\n")
        return None


def _facts(cfg: Config, dist: distributed.DistInfo) -> dict[str, Any]:
    on_gpu = dist.device.type == "cuda"
    device = torch.cuda.get_device_name(dist.device) if on_gpu else "cpu"
    env = f"PyTorch {torch.__version__}, {dist.world_size} x {device}"
    return {"env_info": env, "exp_name": cfg.path.name, "config": cfg.text}


def _device(args: argparse.Namespace) -> str:
    """The device of the flags.

    Raises:
        ConfigError: several GPUs are asked for in one process.
    """
    ids = args.gpu_ids if args.gpu_ids is not None else list(range(args.gpus or 1))
    if len(ids) > 1:
        raise ConfigError(
            f"one process uses one GPU; for {len(ids)} start it with torchrun --standalone "
            f"--nproc_per_node={len(ids)} tools/train.py ..., or make train-vatrack "
            f"GPUS={len(ids)}"
        )
    return f"cuda:{ids[0]}" if args.gpu_ids is not None else args.device
