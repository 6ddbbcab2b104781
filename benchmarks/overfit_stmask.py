"""A small STMask learns two synthetic clips from random weights: `make overfit-stmask`.

Training and evaluation are the commands a user calls. The scores are those of YouTube-VIS on the
clips it has learnt; the record says how much processor time the training took.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch
from overfit_clips import describe_clips, make_clips

from stmask.commands import eval as eval_command
from stmask.commands import train
from stmask.config import DATA_ROOT_VARIABLE
from stmask.saved import SavedName, find_saved
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import UserError, run_cli
from vidseg_common.files import write_json
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.synthetic_layouts import write_layout

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "stmask_overfit.json"
CONFIG = ROOT / "stmask" / "configs" / "overfit.yaml"
#: What the training is given besides the configuration.
TRAINING = (
    *("--batch_size", "4", "--no_autoscale", "--lr", "0.004", "--train_bn"),
    *("--num_workers", "0", "--save_interval", "100000", "--validation_epoch", "0"),
)


def write_data(root: Path) -> None:
    """Writes the clips as YouTube-VIS 2021 for training and for evaluation."""
    home = root / "YouTube_VOS2021"
    write_layout("ytvis", make_clips(), home, split="train")
    sub = home / "annotations_instances" / "valid_sub.json"
    sub.parent.mkdir(exist_ok=True)
    shutil.copy(home / "train" / "instances.json", sub)


def train_and_score(root: Path, config: Path) -> dict[str, object]:
    """Trains in `root` and scores the result.

    Args:
        root: of the data set; weights and results go there too.
        config: file of the configuration.

    Raises:
        UserError: the training was stopped.
    """
    weights = root / "weights"
    flags = ["--config", str(config), "--save_folder", str(weights), "--device", "cpu"]
    started, cpu = time.perf_counter(), time.process_time()
    if train.main([*flags, *TRAINING]):
        raise UserError("the training was stopped, so there is nothing to record")
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    last = find_saved(weights, "latest")
    results = root / "results.json"
    flags = ["--config", str(config), "--trained_model", str(last), "--device", "cpu"]
    flags += ["--mask_det_file", str(results), "--use_valid_sub", "--workers", "1", "--no_bar"]
    eval_command.main(flags)
    metrics = json.loads(results.with_name("results_metrics.json").read_text(encoding="utf-8"))
    saved = SavedName.of(last)
    return {
        **{name: metrics["numbers"][name] for name in ("AP", "AP50", "AP75")},
        "iterations": saved.iteration if saved else 0,
        "training_seconds": round(seconds, 1),
        "training_cpu_seconds": round(cpu, 1),
    }


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = ArgumentParser("overfit_stmask.py", description=__doc__)
    # The recorded result is of one thread.
    parser.add_argument("--threads", type=positive_int, default=1, help="of the processor")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of the result")
    parser.add_argument("--folder", type=Path, help="keep data, weights and results there")
    parser.add_argument("--config", type=Path, default=CONFIG, help="file of the configuration")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_data(folder.resolve())
        os.environ[DATA_ROOT_VARIABLE] = str(folder.resolve())
        scores = train_and_score(folder.resolve(), args.config)
    machine = f"{platform.machine()}, {args.threads} threads"
    clips = describe_clips()
    write_json(args.out, {"machine": machine, "torch": torch.__version__, "clips": clips, **scores})
    sys.stdout.write(f"AP50 {scores['AP50']:.3f}, {scores['training_cpu_seconds']} CPU seconds\n")
    return 0


if __name__ == "__main__":
    run_cli(main)
