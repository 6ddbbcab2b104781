"""A small DeVIS learns two synthetic clips from random weights: `make overfit-devis`.

Training and evaluation are the commands a user calls. The scores are those of YouTube-VIS on the
clips it has learnt; the record says how much processor time the training took.
"""

from __future__ import annotations

import contextlib
import json
import platform
import sys
import tempfile
import time
from pathlib import Path

import torch
from overfit_clips import CLIPS, describe_clips, make_clips

from devis.commands.main import main as devis_main
from devis.resume import NEWEST
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import UserError, run_cli
from vidseg_common.files import write_json
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.synthetic_layouts import write_layout

RESULTS = Path(__file__).resolve().parent / "results" / "devis_overfit.json"


def train_and_score(root: Path, opts: list[str]) -> dict[str, object]:
    """Trains in `root` and scores the result.

    Args:
        root: of the data set; weights and results go there too.
        opts: further KEY VALUE pairs.

    Raises:
        UserError: the training was stopped.
    """
    out = root / "output"
    common = ["--config-file", "overfit", "--device", "cpu"]
    keys = ["DATASETS.DATA_PATH", str(root), "OUTPUT_DIR", str(out), *opts]
    started, cpu = time.perf_counter(), time.process_time()
    if devis_main([*common, "--backbone-weights", "none", *keys]):
        raise UserError("the training was stopped, so there is nothing to record")
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    last = out / NEWEST
    devis_main([*common, "--eval-only", *keys, "MODEL.WEIGHTS", str(last)])
    scores = json.loads((out / "output_eval" / "eval_results.json").read_text(encoding="utf-8"))
    return {
        **{name: scores["numbers"][name] for name in ("AP", "AP50", "AP75")},
        "iterations": torch.load(last, weights_only=True)["iteration"],
        "training_seconds": round(seconds, 1),
        "training_cpu_seconds": round(cpu, 1),
    }


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = ArgumentParser("overfit_devis.py", description=__doc__)
    parser.add_argument("--threads", type=positive_int, default=1, help="of the processor")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of the result")
    parser.add_argument("--folder", type=Path, help="keep data, weights and results there")
    parser.add_argument("--clips", type=positive_int, default=len(CLIPS), help="learn the first N")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="change the configuration")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        clips = CLIPS[: args.clips]
        write_layout("ytvis", make_clips(clips), folder / "Youtube_VIS-2021", split="train")
        scores = train_and_score(folder.resolve(), args.opts)
    machine = f"{platform.machine()}, {args.threads} threads"
    record = {"machine": machine, "torch": torch.__version__, "clips": describe_clips(clips)}
    write_json(args.out, {**record, **scores})
    sys.stdout.write(f"AP50 {scores['AP50']:.3f}, {scores['training_cpu_seconds']} CPU seconds\n")
    return 0


if __name__ == "__main__":
    run_cli(main)
