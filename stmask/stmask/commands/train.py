"""`train.py` and `stmask train`: one training, on one GPU, on many, or on the CPU (spec 10)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from stmask.commands.common import WEIGHTS
from stmask.commands.download import START_FOLDER
from stmask.commands.flags import say, warn_inert
from stmask.commands.train_flags import INERT, build_parser
from stmask.config import Config, get_config, get_dataset
from stmask.data.setup import build_dataset
from stmask.engine import Trainer
from stmask.resume import find_resume
from stmask.schedules import DEFAULT_RATE, autoscale, scale_factor
from stmask.session import Interrupted, Saving, Start, TrainOptions
from stmask.validation import Validation
from vidseg_common import distributed
from vidseg_common.errors import CheckpointError, UserError
from vidseg_common.files import OutputLock, check_writable

__all__ = ["build_parser", "main"]

#: How long processes wait for each other: one of them validates meanwhile.
_TIMEOUT_MINUTES = 180
_NOTHING = "none"


def main(argv: Sequence[str] | None = None) -> int:
    """Trains a configuration.

    Returns:
        0, or 1 when Ctrl-C, SIGTERM or SIGUSR1 stopped the training.

    Raises:
        UserError: flags, configuration, data, weights or device are unusable.
    """
    args = build_parser().parse_args(argv)
    cfg = training_config(args)
    device = args.device if args.cuda else "cpu"
    dist = distributed.setup(device, timeout_minutes=_TIMEOUT_MINUTES)
    try:
        if dist.is_main:
            warn_inert(args, INERT)
        return _train(args, cfg, dist)
    except Interrupted as stop:
        if dist.is_main:
            sys.stderr.write(f"{stop}\n")
        return stop.status
    finally:
        distributed.cleanup()


def training_config(args: argparse.Namespace) -> Config:
    """The configuration that the flags ask for, its iterations scaled.

    Raises:
        ConfigError: there is no such configuration or data set.
    """
    cfg = get_config(args.config)
    if args.train_dataset:
        cfg = cfg.copy({"train_dataset": get_dataset(args.train_dataset)})
    if not args.no_autoscale:
        cfg = autoscale(cfg, args.batch_size)
    return cfg.copy({"max_iter": args.max_iter}) if args.max_iter else cfg


def choose_start(args: argparse.Namespace, cfg: Config) -> Start:
    """What to begin with: a checkpoint, else the detector trained on COCO, else nothing.

    Raises:
        CheckpointError: the file does not exist.
    """
    if args.resume is not None and args.resume != _NOTHING:
        path = find_resume(args.resume, args.save_folder, cfg.name)
        return Start(resume=path, iteration=args.start_iter if args.start_iter >= 0 else None)
    if args.start_from == _NOTHING or (args.start_from is None and not cfg.backbone.path):
        return Start()
    if args.start_from is not None:
        return Start(weights=Path(args.start_from))
    path = WEIGHTS / START_FOLDER / cfg.backbone.path
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; put the detector trained on COCO there (stmask download "
            f"{path.stem}), name another file with --start_from, or start from random weights with "
            f"--start_from {_NOTHING}"
        )
    return Start(weights=path)


def _train(args: argparse.Namespace, cfg: Config, dist: distributed.DistInfo) -> int:
    options = _options(args, choose_start(args, cfg))
    with ExitStack() as stack:
        if dist.is_main:
            stack.enter_context(OutputLock(check_writable(args.save_folder)))
        dataset = build_dataset(
            cfg.train_dataset, cfg.num_classes, progress=dist.is_main and sys.stderr.isatty()
        )
        validation = _validation(args, cfg) if dist.is_main else None
        Trainer(cfg, dataset, dist, args.save_folder, options, validation).run()
    return 0


def _validation(args: argparse.Namespace, cfg: Config) -> Validation | None:
    if args.validation_epoch <= 0:
        return None
    try:
        return Validation(cfg, keep_results=args.output_json)
    except UserError as error:
        say(f"checkpoints are not scored: {error}")
        return None


def _options(args: argparse.Namespace, start: Start) -> TrainOptions:
    factor = scale_factor(args.batch_size) if args.scale_lr else 1.0
    return TrainOptions(
        batch_size=args.batch_size,
        batch_alloc=args.batch_alloc,
        start=start,
        saving=Saving(
            interval=args.save_interval,
            from_epoch=args.save_from_epoch,
            keep_latest=args.keep_latest,
            keep_latest_interval=args.keep_latest_interval,
            on_interrupt=not args.no_interrupt,
        ),
        rate=DEFAULT_RATE * factor if args.lr is None else args.lr,
        momentum=args.momentum,
        decay=args.decay,
        gamma=args.gamma,
        train_bn=args.train_bn,
        amp=args.amp,
        num_workers=args.num_workers,
        seed=args.seed,
        deterministic=args.deterministic,
        log=not args.no_log,
        log_gpu=args.log_gpu,
        arguments={key: _plain(value) for key, value in vars(args).items()},
    )


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
