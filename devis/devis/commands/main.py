"""`main.py`: trains or, with --eval-only, evaluates, as the original program (spec section 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from devis.commands.train import resumed, start_processes, train
from devis.commands.train_flags import add_original_flags, add_training_flags, parse
from devis.config import load_config
from devis.engine import AMP_DTYPES
from devis.evaluate_weights import How, evaluate_weights
from vidseg_common import distributed
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import UserError
from vidseg_common.metrics.parallel import available_cpus
from vidseg_common.sharding import add_shard_flags, sharding_of


def main(argv: Sequence[str] | None = None) -> int:
    """Trains or evaluates a configuration.

    Returns:
        0, or 1 when Ctrl-C, SIGTERM or SIGUSR1 stopped the training, or the loss was not finite.

    Raises:
        UserError: flags, configuration, data, weights or device are unusable.
    """
    args = parse(_parser(), argv)
    sharding = sharding_of(args)
    if sharding is not None and not args.eval_only:
        raise UserError("--num-shards goes with --eval-only")
    if args.merge:
        args.device = "cpu"  # no network runs
    cfg = resumed(load_config(args.config_file, args.opts), args.resume)
    dist = start_processes(cfg, args)
    try:
        if not args.eval_only:
            return train(cfg, args, dist)
        dtype = AMP_DTYPES[args.amp] or torch.float32
        evaluate_weights(cfg, How(dist, dtype, available_cpus(), sharding))
        return 0
    finally:
        distributed.cleanup()


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        "main.py",
        description="Trains a model, or evaluates it; start it with torchrun to use several GPUs.",
    )
    add_original_flags(parser)
    parser.add_argument(
        "--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS in place of training"
    )
    add_shard_flags(parser, "videos or images of --eval-only")
    add_training_flags(parser)
    return parser
