"""`stemseg bench`: frames per second of a checkpoint on this machine."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from pathlib import Path

import torch

from stemseg.commands.common import add_choice_flags, predictor_of, say
from stemseg.weights import config_of
from vidseg_common.config import ArgumentParser
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.synthetic import generate_video


def main(argv: Sequence[str] | None = None) -> int:
    """Segments a synthetic video and prints its speed; file input and output play no part.

    Raises:
        UserError: flags or weights are unusable.
    """
    args = _build_parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    cfg = config_of(args.model, opts=args.opts)
    predictor = predictor_of(args, cfg)
    video = generate_video(0, args.frames, args.height, args.width, 3)
    # The first clip pays for packing the weights.
    predictor.predict(video.frames[: cfg.INPUT.NUM_FRAMES])
    prediction = predictor.predict(video.frames)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say(
        f"{args.frames} frames {args.width}x{args.height}, {len(prediction.objects)} objects, "
        f"{predictor.engine.device}, {args.precision}, peak RSS {peak:.0f} MB",
        *prediction.times.lines(),
    )
    return 0


def _build_parser() -> ArgumentParser:
    parser = ArgumentParser("stemseg bench", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint")
    parser.add_argument("--height", type=positive_int, default=480, help="rows of a frame")
    parser.add_argument("--width", type=positive_int, default=854, help="columns of a frame")
    parser.add_argument("--frames", type=positive_int, default=24, help="frames timed")
    parser.add_argument("--threads", type=positive_int, help="threads of the CPU")
    add_choice_flags(parser)
    return parser
