"""Small things that the commands share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stemseg.checkpoint import load_network
from stemseg.config import Config
from stemseg.inference.predictor import Predictor
from stemseg.inference.settings import Choices
from vidseg_common.config import ArgumentParser
from vidseg_common.distributed import select_device
from vidseg_common.metrics.parallel import positive_int

#: Command-line name of a data set to its TRAINING.MODE and the configuration of its model.
DATASETS = {
    "davis": ("davis", "davis_2"),
    "ytvis": ("youtube_vis", "youtube_vis"),
    "kittimots": ("kitti_mots", "kitti_mots_2"),
}


def say(*lines: str) -> None:
    """Prints lines for the user."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def metrics_folder(output: Path) -> Path:
    """Records and numbers go beside the results, whose folder holds nothing else."""
    named = output if output.name not in ("", "..") else output.resolve()
    return named.with_name(f"{named.name}_metrics")


def count(text: str) -> int:
    """Type of a flag that may be 0.

    Raises:
        argparse.ArgumentTypeError: not a whole number of 0 or more.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 on, not {text!r}")
    return int(text)


def add_choice_flags(parser: ArgumentParser) -> None:
    """Flags of everything that a user may choose for inference."""
    parser.add_argument(
        "--max_tracks", type=positive_int, help="tracks kept per sequence; default: configuration"
    )
    parser.add_argument(
        "--frame_overlap",
        "-fo",
        type=int,
        default=-1,
        help="frames that consecutive clips share; 0 and below: configuration",
    )
    parser.add_argument(
        "--seediness_thresh",
        "-st",
        type=float,
        default=0.25,
        help="foreground threshold on seediness, for networks without a semantic head",
    )
    parser.add_argument("--min_dim", type=positive_int, help="shorter side of the input")
    parser.add_argument("--max_dim", type=positive_int, help="longest allowed side of the input")
    parser.add_argument(
        "--resize_embeddings",
        action="store_true",
        help="cluster at the resolution of the input in place of a quarter of it",
    )
    parser.add_argument(
        "--min_seediness_prob",
        "-msp",
        type=float,
        help="smallest seediness of an instance's centre; default: configuration",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument(
        "--clustering_device", help="device of clustering and averaging; default: that of --device"
    )
    parser.add_argument(
        "--frame_batch",
        type=positive_int,
        default=1,
        help="frames that go through the backbone together",
    )
    parser.add_argument(
        "--clip_batch",
        type=positive_int,
        default=1,
        help="clips that go through the decoders together; more memory",
    )
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="of the network"
    )
    parser.add_argument(
        "--opts",
        nargs="+",
        default=[],
        metavar="SECTION.KEY value",
        help="values over those of the configuration",
    )


def add_reading_flags(parser: ArgumentParser) -> None:
    """Flags of commands that read frames."""
    parser.add_argument(
        "--num_workers", type=count, default=4, help="frames read ahead in a thread; 0: no thread"
    )


def predictor_of(args: argparse.Namespace, cfg: Config) -> Predictor:
    """The predictor that parsed flags ask for.

    Raises:
        UserError: weights, device or choices are unusable.
    """
    device = select_device(args.device)
    return Predictor(
        load_network(args.model, cfg, device=device),
        choices_of(args),
        device=device,
        clustering_device=select_device(args.clustering_device or str(device)),
        precision=args.precision,
    )


def choices_of(args: argparse.Namespace) -> Choices:
    """The choices of parsed flags."""
    return Choices(
        frame_overlap=args.frame_overlap,
        max_tracks=args.max_tracks,
        min_dim=args.min_dim,
        max_dim=args.max_dim,
        min_seediness_prob=args.min_seediness_prob,
        seediness_thresh=args.seediness_thresh,
        resize_embeddings=args.resize_embeddings,
        frame_batch=args.frame_batch,
        clip_batch=args.clip_batch,
    )
