"""`stmask bench`: frames per second of a checkpoint on this machine."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from pathlib import Path

import torch

from stmask.commands.common import make_predictor, open_model
from stmask.commands.eval_flags import add_network_flags
from stmask.commands.flags import say
from stmask.evaluate import NUM_UNTIMED
from vidseg_common.config import ArgumentParser
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.synthetic import generate_video


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser("stmask bench", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint")
    parser.add_argument("--height", type=positive_int, default=360, help="rows of a frame")
    parser.add_argument("--width", type=positive_int, default=640, help="columns of a frame")
    parser.add_argument("--frames", type=positive_int, default=24, help="frames timed")
    parser.add_argument("--threads", type=positive_int, help="threads of the CPU")
    add_network_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Segments a synthetic video and prints its speed; file input and output play no part.

    Raises:
        UserError: flags or weights are unusable.
    """
    args = build_parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    model = open_model(args.model, args.config, strict=not args.non_strict)
    predictor, timers = make_predictor(model, args)
    video = generate_video(0, args.frames + NUM_UNTIMED, args.height, args.width, 3)
    num_shown = 0
    for i, frame in enumerate(video.frames):
        # The first frames pay for what is made once, such as packed weights.
        timers.is_counting = i >= NUM_UNTIMED
        num_shown += len(predictor.step(frame))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say(
        f"{args.frames} frames {args.width}x{args.height}, "
        f"{num_shown / len(video.frames):.1f} objects a frame, {predictor.device}, "
        f"{args.precision}, peak RSS {peak:.0f} MB",
        *timers.table(args.frames),
    )
    return 0
