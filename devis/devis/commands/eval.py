"""`devis eval`: runs the validation set of a configuration and scores the results."""

from __future__ import annotations

from collections.abc import Sequence

from devis.commands.common import PRECISIONS, add_device_flags, add_override_words
from devis.config import load_config
from devis.evaluate_weights import How, evaluate_weights
from vidseg_common import distributed
from vidseg_common.config import ArgumentParser
from vidseg_common.metrics.parallel import available_cpus, positive_int
from vidseg_common.sharding import add_shard_flags, sharding_of


def build_parser() -> ArgumentParser:
    """Flags of the command."""
    parser = ArgumentParser(
        "devis eval",
        description=f"{__doc__}\n\nThe same as `main.py --eval-only`. With torchrun, the processes "
        "share the videos.",
    )
    parser.add_argument(
        "--config-file",
        required=True,
        metavar="FILE",
        help="YAML file, or the name of a shipped configuration",
    )
    add_device_flags(parser)
    parser.add_argument(
        "--workers", type=positive_int, default=available_cpus(), help="processes of the metric"
    )
    add_shard_flags(parser, "videos or images")
    add_override_words(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point.

    Raises:
        UserError: flags, weights, data or an output are unusable.
    """
    args = build_parser().parse_args(argv)
    cfg = load_config(args.config_file, args.opts)
    # Putting shards together runs no network.
    dist = distributed.setup("cpu" if args.merge else args.device)
    try:
        evaluate_weights(
            cfg, How(dist, PRECISIONS[args.precision], args.workers, sharding_of(args))
        )
    finally:
        distributed.cleanup()
    return 0
