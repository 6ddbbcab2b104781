"""`stcn bench`: frames per second of chosen weights on this machine."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence

import torch

from stcn.commands.common import say
from stcn.commands.predict import predictor_for
from stcn.options import add_memory_flags, inner_side
from stcn.weights import find_weights
from vidseg_common.config import ArgumentParser
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.synthetic import generate_video


def main(argv: Sequence[str] | None = None) -> int:
    """Segments a synthetic video and prints its speed; file input and output play no part."""
    parser = ArgumentParser("stcn bench", description=__doc__)
    parser.add_argument("--model", help="weights file, 'official' or 'demo'; default: best at hand")
    parser.add_argument("--height", type=positive_int, default=480, help="rows of a frame")
    parser.add_argument("--width", type=positive_int, default=854, help="columns of a frame")
    parser.add_argument("--objects", type=positive_int, default=1, help="objects followed")
    parser.add_argument("--frames", type=positive_int, default=20, help="frames timed")
    parser.add_argument("--threads", type=positive_int, help="threads of the CPU")
    parser.add_argument("--size", type=inner_side, help="shorter side to work at; 0: their own")
    parser.add_argument("--amp", action="store_true", help="half precision")
    add_memory_flags(parser)
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    weights = find_weights(args.model)
    predictor = predictor_for(weights, args)
    video = generate_video(0, args.frames, args.height, args.width, args.objects)
    times, last = [], time.perf_counter()
    for _, result in predictor.stream(iter(video.frames), {0: video.visible[0]}):
        if result is not None:
            _ = result.mask
        times.append(time.perf_counter() - last)
        last = time.perf_counter()
    # The first frames pay for packing the weights and for the first memory write.
    steady = times[2:] or times
    seconds = sum(steady) / len(steady)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    device = predictor.engine.device
    say(
        f"{weights.title}, {args.width}x{args.height}, {args.objects} objects, {device}",
        f"{seconds:.3f} s per frame, {1 / seconds:.2f} frames per second, peak RSS {peak:.0f} MB",
    )
    return 0
