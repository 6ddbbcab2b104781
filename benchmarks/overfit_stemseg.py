"""A small STEm-Seg learns two synthetic clips from random weights: `make overfit-stemseg`.

Training and evaluation are the commands a user calls. The score is J&F of the unsupervised task of
DAVIS on the clips it has learnt; the record says how much processor time the training took.
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
from collections.abc import Iterator
from pathlib import Path

import torch
from overfit_clips import describe_clips, make_clips

from stemseg.commands import eval as eval_command
from stemseg.commands import train
from stemseg.config import load_config
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import UserError, run_cli
from vidseg_common.files import write_json
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.synthetic_layouts import write_layout

RESULTS = Path(__file__).parent / "results" / "stemseg_overfit.json"


def write_data(root: Path) -> dict[str, str]:
    """Writes the clips as training and validation data; returns the environment that names them."""
    write_layout("stemseg", make_clips(), root, split="train")
    annotations = root / "annotations"
    shutil.copy(annotations / "davis_train.json", annotations / "davis_val.json")
    return {
        "STEMSEG_JSON_ANNOTATIONS_DIR": str(annotations),
        "STEMSEG_MODELS_DIR": str(root),
        "DAVIS_BASE_DIR": str(root / "train" / "JPEGImages"),
        "YOUTUBE_VIS_BASE_DIR": str(root),
    }


@contextlib.contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Sets environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def train_and_score(root: Path, opts: list[str]) -> dict[str, object]:
    """Trains in `root` and scores the result.

    Raises:
        UserError: the training was stopped.
    """
    words = ["--cfg", "overfit", "--model_dir", "two", "--device", "cpu", "--num_cpu_workers", "0"]
    words += ["--display_interval", "20", "--no_resume"]
    started, cpu = time.perf_counter(), time.process_time()
    if train.main([*words, *(["--opts", *opts] if opts else [])]):
        raise UserError("the training was stopped, so there is nothing to record")
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    folder = root / "checkpoints" / "davis" / "two"
    weights = max(folder.glob("*.pth"))
    eval_command.main([str(weights), "-d", "davis", "-o", "out", "--device", "cpu", "--overwrite"])
    metrics = json.loads((folder / "out_metrics" / "metrics.json").read_text(encoding="utf-8"))
    (scores,) = (found["content"]["global"] for found in metrics.values())
    return {
        "J&F": scores["J&F-Mean"],
        "J": scores["J-Mean"],
        "F": scores["F-Mean"],
        "iterations": int(weights.stem),
        "training_seconds": round(seconds, 1),
        "training_cpu_seconds": round(cpu, 1),
    }


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = ArgumentParser("overfit_stemseg.py", description=__doc__)
    parser.add_argument("--threads", type=positive_int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--folder", type=Path, help="keep data, weights and results there")
    parser.add_argument("--opts", nargs="*", default=[], help="keys of the configuration")
    args = parser.parse_args(argv)
    load_config("overfit", opts=args.opts)
    torch.set_num_threads(args.threads)
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(environment(write_data(folder.resolve())))
        scores = train_and_score(folder.resolve(), args.opts)
    machine = f"{platform.machine()}, {args.threads} threads"
    clips = describe_clips()
    write_json(args.out, {"machine": machine, "torch": torch.__version__, "clips": clips, **scores})
    sys.stdout.write(f"J&F {scores['J&F']:.3f}, {scores['training_cpu_seconds']} CPU seconds\n")
    return 0


if __name__ == "__main__":
    run_cli(main)
