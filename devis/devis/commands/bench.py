"""`devis bench`: frames per second of a checkpoint on this machine."""

from __future__ import annotations

import resource
from collections.abc import Sequence

import torch

from devis.commands.common import PRECISIONS, add_device_flags, add_model_flags, add_overrides
from devis.config import update
from devis.inference.predictor import Predictor
from devis.model.segmenter import DeVIS
from devis.weights import open_model, require_clips
from vidseg_common.commands.common import say
from vidseg_common.config import ArgumentParser
from vidseg_common.distributed import select_device
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.synthetic import generate_video


def build_parser() -> ArgumentParser:
    """Flags of the command."""
    parser = ArgumentParser("devis bench", description=__doc__)
    add = parser.add_argument
    add_model_flags(parser)
    add("--height", type=positive_int, default=360, help="rows of a frame")
    add("--width", type=positive_int, default=640, help="columns of a frame")
    add("--frames", type=positive_int, default=22, help="frames timed")
    add("--threads", type=positive_int, help="threads of the CPU")
    add_device_flags(parser)
    add_overrides(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Segments a synthetic video and prints its speed; file input and output play no part.

    Raises:
        UserError: flags or weights are unusable.
    """
    args = build_parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = select_device(args.device)
    network, cfg = open_model(args.model, args.config_file)
    require_clips(cfg, args.model)
    assert isinstance(network, DeVIS)
    cfg = update(cfg, args.opts)
    predictor = Predictor(network.to(device), cfg, device, PRECISIONS[args.precision])
    video = generate_video(0, args.frames, args.height, args.width, 3).frames
    # The first clip pays for what is made once, such as compiled kernels.
    predictor.run(video[: predictor.num_frames])
    predictor.times.seconds.clear()
    found = predictor.run(video)
    if device.type == "cuda":
        memory = f"peak GPU memory {torch.cuda.max_memory_allocated(device) / 2**20:.0f} MB"
    else:
        memory = f"peak RSS {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
    seconds = predictor.times.seconds
    say(
        f"{args.frames} frames {args.width}x{args.height}, {len(found.tracks)} tracks, {device}, "
        f"{args.precision}, {memory}",
        *(f"{name:10} {1000 * s / args.frames:8.1f} ms a frame" for name, s in seconds.items()),
        f"{args.frames / predictor.times.total:.2f} frames/s",
    )
    return 0
