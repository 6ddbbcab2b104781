"""Command-line flags that the tools share, and what they mean."""

from __future__ import annotations

import argparse
import hashlib
import math
from pathlib import Path
from typing import Any

import torch

from stcn.checkpoint import load_network
from stcn.inference.engine import MemoryPolicy
from stcn.inference.predictor import Predictor
from vidseg_common.config import ArgumentParser
from vidseg_common.distributed import select_device
from vidseg_common.errors import CheckpointError
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.sharding import add_shard_flags

DEFAULT_MODEL = Path("saves/stcn.pth")


def add_model_flags(parser: ArgumentParser) -> None:
    """Weights, device and memory settings."""
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="weights")
    add_memory_flags(parser)


def add_memory_flags(parser: ArgumentParser) -> None:
    """What is remembered, and where to run."""
    parser.add_argument(
        "--top", type=positive_int, default=20, help="memory elements that vote (top-k)"
    )
    parser.add_argument("--mem_every", type=positive_int, default=5, help="store every n-th frame")
    parser.add_argument(
        "--include_last", action="store_true", help="always remember the previous frame too"
    )
    parser.add_argument(
        "--max-memory-frames",
        type=positive_int,
        default=None,
        help="cap on stored frames: the first and annotated ones stay, the oldest other goes; "
        "no cap gives the published numbers",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument(
        "--read-mb", type=_positive, default=64.0, help="bound on the extra memory of a read, MiB"
    )


def add_size_flag(parser: ArgumentParser, default: int | None) -> None:
    """Inner size."""
    parser.add_argument(
        "--size",
        "--res",
        type=inner_side,
        default=default,
        help="shorter side at which frames are processed; 0 keeps the frames' own size",
    )


def add_output_flags(parser: ArgumentParser) -> None:
    """Where results go and how an interrupted run continues."""
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--overwrite", action="store_true", help="redo finished videos")
    parser.add_argument(
        "--rgb_masks",
        choices=("refuse", "snap"),
        default="refuse",
        help="masks without a palette: an error, or map their colours to ids",
    )
    parser.add_argument("--videos", nargs="+", metavar="NAME", help="only these videos")
    parser.add_argument("--workers", type=positive_int, default=2, help="processes of the metric")
    parser.add_argument("--no-metric", action="store_true", help="write masks only")
    add_shard_flags(parser, "videos")


def inner_side(text: str) -> int:
    """Type of `--size`: 0, or pixels enough for the strides of the network.

    Raises:
        argparse.ArgumentTypeError: something else.
    """
    if not text.isdecimal() or 0 < int(text) < 16:
        raise argparse.ArgumentTypeError(f"must be 0 or a whole number from 16 on, not {text!r}")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def amp_mode(enabled: bool, device: torch.device) -> str:
    """fp16 on a GPU as published, bf16 on a CPU."""
    if not enabled:
        return "off"
    return "fp16" if device.type == "cuda" else "bf16"


def build_policy(args: argparse.Namespace, *, kernel_sigma: float | None = None) -> MemoryPolicy:
    """Memory settings of parsed flags."""
    return MemoryPolicy(
        mem_every=args.mem_every,
        include_last=args.include_last,
        top_k=args.top,
        max_frames=args.max_memory_frames,
        chunk_mb=args.read_mb,
        kernel_sigma=kernel_sigma,
    )


def build_predictor(
    args: argparse.Namespace, *, size: int | None, amp: bool, kernel_sigma: float | None = None
) -> Predictor:
    """Loads the weights and returns a predictor on the chosen device.

    Raises:
        UserError: weights, device or a setting is unusable.
    """
    device = select_device(args.device)
    network = load_network(_weights_file(args), device=device)
    return Predictor(
        network,
        policy=build_policy(args, kernel_sigma=kernel_sigma),
        size=size or None,
        amp=amp_mode(amp, device),
    )


def result_settings(args: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """What a result depends on, for the record beside it; weights count by their content.

    Raises:
        CheckpointError: there is no such file.
    """
    names = ("top", "mem_every", "include_last", "max_memory_frames")
    weights = hashlib.sha256(_weights_file(args).read_bytes()).hexdigest()
    return {"weights": weights} | {name: getattr(args, name) for name in names} | more


def _weights_file(args: argparse.Namespace) -> Path:
    path: Path = args.model
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such weights file; fetch the published weights with "
            "`make weights-stcn` or python download_model.py, or name another file with --model"
        )
    return path
