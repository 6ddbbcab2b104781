"""A small VATrack learns two synthetic clips from random weights: `make overfit-vatrack`.

Training is the command a user calls. In each clip an object hides another one in part, so that
visible and amodal masks differ. The scores are those of the clips it has learnt; the record says
how much processor time the training took.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import torch
from overfit_clips import OCCLUDED, describe_clips, make_clips

from vatrack.checkpoint import load_network, read_checkpoint
from vatrack.commands import train
from vatrack.config import DATA_VARIABLE, load_config
from vatrack.saved import LATEST
from vatrack.validation import Validation
from vidseg_common.arguments import ArgumentParser
from vidseg_common.errors import UserError, run_cli
from vidseg_common.files import write_json
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.synthetic_layouts import write_layout

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "vatrack_overfit.json"
#: Part of the evaluation and its names in the record.
PARTS = {"video_visible_segm": "visible", "video_amodal_segm": "amodal"}


def write_data(root: Path) -> None:
    """Writes the clips as SAIL-VOS for training and for evaluation."""
    clips = make_clips(OCCLUDED)
    for split in ("train", "valid"):
        write_layout("sailvos", clips, root, split=split)


def train_and_score(root: Path, config: str) -> dict[str, object]:
    """Trains in a folder and scores the result.

    Args:
        root: of the data set; weights go there too.
        config: file or name of the configuration.

    Raises:
        UserError: the training was stopped.
    """
    weights = root / "weights"
    flags = ["--config", config, "--work-dir", str(weights), "--device", "cpu", "--no-validate"]
    started, cpu = time.perf_counter(), time.process_time()
    if train.main(flags):
        raise UserError("the training was stopped, so there is nothing to record")
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    cfg, last = load_config(config), read_checkpoint(weights / LATEST)
    numbers = Validation(cfg).score(load_network(last, cfg)).numbers
    return {
        **{
            f"{name}_{ours}": numbers[f"{part}_{key}"]
            for part, name in PARTS.items()
            for key, ours in (("AP", "vAP"), ("AP50", "vAP50"), ("AP75", "vAP75"))
        },
        "iterations": last.meta["iter"],
        "training_seconds": round(seconds, 1),
        "training_cpu_seconds": round(cpu, 1),
    }


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = ArgumentParser("overfit_vatrack.py", description=__doc__)
    # The recorded result is of one thread.
    parser.add_argument("--threads", type=positive_int, default=1, help="of the processor")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of the result")
    parser.add_argument("--folder", type=Path, help="keep data and weights there")
    parser.add_argument("--config", default="overfit", help="file or name of the configuration")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = folder.resolve()
        write_data(folder)
        os.environ[DATA_VARIABLE] = str(folder)
        scores = train_and_score(folder, args.config)
    machine = f"{platform.machine()}, {args.threads} threads"
    clips = describe_clips(OCCLUDED)
    write_json(args.out, {"machine": machine, "torch": torch.__version__, "clips": clips, **scores})
    sys.stdout.write(
        f"vAP50 visible {scores['visible_vAP50']:.3f}, amodal {scores['amodal_vAP50']:.3f}, "
        f"{scores['training_cpu_seconds']} CPU seconds\n"
    )
    return 0


if __name__ == "__main__":
    run_cli(main)
