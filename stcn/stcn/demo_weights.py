"""Chooses the shipped weights: `python -m stcn.demo_weights SAVES` after `make train-stcn-demo`.

Every saved network is scored on synthetic validation videos, none of which training can have seen;
the best network and inner size become the shipped file. Real videos play no part in the choice.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from stcn.checkpoint import load_network
from stcn.inference.predictor import Predictor
from stcn.model.network import STCN
from stcn.weights import SHIPPED
from vidseg_common.checkpoint import save_safetensors
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import CheckpointError, run_cli
from vidseg_common.files import write_json
from vidseg_common.metrics.davis_jf import jf_frame
from vidseg_common.synthetic import SyntheticVideo, generate_video

#: Training draws its scenes from other seeds: 32-bit draws of a seeded stream.
VALIDATION_SEED = 5_000_000_000
NUM_FRAMES = 30


def score(network: STCN, videos: Sequence[SyntheticVideo], size: int) -> float:
    """Mean J&F over the objects of the first frames, first frame left out."""
    predictor = Predictor(network, size=size)
    values = []
    for video in videos:
        first = video.visible[0]
        masks = {0: first}
        predictor.reset()
        for t, result in predictor.stream(iter(video.frames), masks):
            if t == 0 or result is None:
                continue
            values += [jf_frame(video.visible[t] == k, result.mask == k) for k in result.object_ids]
    return float(np.mean(values))


def validation_videos(count: int) -> list[SyntheticVideo]:
    """480p videos of two objects."""
    return [
        generate_video(VALIDATION_SEED + i, NUM_FRAMES, 480, 854, 2)
        for i in tqdm(range(count), desc="validation videos", unit="video")
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = ArgumentParser("stcn.demo_weights", description=__doc__)
    parser.add_argument("saves", type=Path, help="folder with the run's weights")
    parser.add_argument("--videos", type=int, default=8, help="validation videos")
    parser.add_argument("--last", type=int, default=1, help="how many of the last networks")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[288, 336, 384, 432],
        help="inner sizes to try",
    )
    parser.add_argument("--output", type=Path, default=SHIPPED, help="file of the chosen network")
    args = parser.parse_args(argv)
    files = [f for f in args.saves.rglob("*.pth") if not f.stem.endswith("_checkpoint")]
    files = sorted(files, key=lambda f: int(f.stem.rsplit("_", 1)[1]))[-args.last :]
    if not files:
        raise CheckpointError(f"{args.saves}: no weights; run `make train-stcn-demo` first")
    videos = validation_videos(args.videos)
    table = []
    for file in files:
        network = load_network(file)
        for size in args.sizes:
            value = score(network, videos, size)
            table.append({"weights": file.name, "size": size, "J&F": value})
            sys.stdout.write(f"{file.name} at {size}: J&F {value:.4f}\n")
    best = max(table, key=lambda row: row["J&F"])
    network = load_network(next(f for f in files if f.name == best["weights"]))
    metadata = {
        "method": "stcn",
        "network": json.dumps(asdict(network.config)),
        "size": str(best["size"]),
        "iteration": str(best["weights"]).removesuffix(".pth").rsplit("_", 1)[1],
        "torch": torch.__version__,
    }
    save_safetensors(network.state_dict(), args.output, metadata)
    write_json(args.output.with_name("validation.json"), {"chosen": best, "all": table})
    sys.stdout.write(f"chose {best}; written to {args.output}\n")
    return 0


if __name__ == "__main__":
    run_cli(main)
