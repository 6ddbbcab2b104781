"""Speed and memory of STMask's inference at 384x640: `make bench-stmask [ARGS=...]`.

Sections: temporal (correlation and motion, against the unfolded form), frames (whole frames of a
synthetic video by the plain path and by ours, stage by stage, and how far results agree), memory
(a long video) and precision (AP of a trained small network by number format). Weights of all but
the last are those of the recorded cases: they have the shapes of the released models but are not
trained, so the number of instances is set by how many candidates the suppression looks at. Plain
path and ours take turns and the fastest round of each counts, so that other work on the machine
falls on both; `cpu_seconds` is the time of all threads. Every section is a process of its own.
Float32 unless a row says otherwise.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from overfit_stmask import CONFIG
from stmask_plain import PlainNetwork
from torch import Tensor

from stmask.checkpoint import load_network
from stmask.commands import eval as eval_command
from stmask.config import DATA_ROOT_VARIABLE
from stmask.inference.networks import FrameNetwork
from stmask.inference.postprocess import FrameResult
from stmask.inference.predictor import Predictor
from stmask.inference.settings import InferenceSettings
from stmask.model.deployed import DeployedNetwork
from stmask.model.network import STMask
from stmask.model.settings import NetworkSettings
from stmask.model.temporal import normalized_correlation, roi_features
from stmask.ops.correlation import unfolded_correlate
from stmask.parity import RECORDS
from stmask.parity_kit import Kit
from stmask.saved import find_saved
from stmask.timers import Timers
from vidseg_common.allocator import keep_freed_memory
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import run_cli
from vidseg_common.files import write_json
from vidseg_common.synthetic import generate_video

RESULTS = Path(__file__).parent / "results" / "stmask.json"
VARIANTS = ("r50_fca_tf", "r50_ali", "r50_ada", "r101_fca_tf", "r101_ali", "r101_ada")
FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16}
Row = dict[str, Any]


def load(variant: str) -> STMask:
    """A network of the shapes of a released model, with the weights of the recorded cases."""
    with tempfile.TemporaryDirectory(prefix="stmask-bench-") as scratch:
        kit = Kit(RECORDS, Path(scratch))
        network, _ = load_network(kit.weights(f"manifest_{variant}.json"))
    return network.eval()


def fastest(calls: Mapping[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """Seconds of the fastest of several calls of each function; they take turns."""
    seconds = dict.fromkeys(calls, float("inf"))
    for _ in range(repeat):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds


@torch.inference_mode()
def bench_temporal(args: argparse.Namespace) -> list[Row]:
    """The correlation alone, and everything that moves instances to the next frame."""
    network = load("r50_fca_tf")
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 1, 256, 24, 40, generator=generator).unbind(0)
    calls = {
        "plain": lambda: unfolded_correlate(maps[0], maps[1]),
        "ours fp32": lambda: normalized_correlation(maps[0], maps[1], 11),
    }
    rows = [_row("correlation", fastest(calls, 5 * args.repeat))]
    runners: dict[str, FrameNetwork] = {"plain": PlainNetwork(network)}
    runners |= {f"ours {name}": DeployedNetwork(network, dtype) for name, dtype in FORMATS.items()}
    for count in (0, 5, 10, 20):
        corners = torch.rand(count, 2, generator=generator) * 0.6
        boxes = torch.cat([corners, corners + 0.3], 1)

        def move(runner: FrameNetwork, boxes: Tensor = boxes) -> None:
            features = runner.temporal_features(*maps)
            if len(boxes):
                runner.TemporalNet(roi_features(features, boxes))

        fusion = {name: lambda r=runner, f=move: f(r) for name, runner in runners.items()}
        title = f"correlation, features and motion of {count} instances"
        rows.append(_row(title, fastest(fusion, args.repeat)))
    return rows


def _row(what: str, seconds: Mapping[str, float]) -> Row:
    ratios = {f"ratio {k}": seconds["plain"] / v for k, v in seconds.items() if k != "plain"}
    return {"what": what, **seconds, **ratios}


class Run:
    """One way to run a video, and what the last pass gave.

    Args:
        network: of a variant.
        settings: of inference.
        dtype: of ours; None is the plain path.
    """

    def __init__(
        self, network: STMask, settings: InferenceSettings, dtype: torch.dtype | None
    ) -> None:
        self.timers = Timers()
        self.predictor = Predictor(
            network, settings, timer=self.timers, dtype=dtype or FORMATS["fp32"]
        )
        if dtype is None:
            self.predictor.runner = PlainNetwork(network, timer=self.timers)
            self.predictor.tracker.network = self.predictor.runner  # type: ignore[union-attr]
        self.results: list[FrameResult] = []
        self.stages: dict[str, float] = {}
        self.seconds = self.cpu_seconds = float("inf")

    def round(self, frames: list[np.ndarray]) -> None:
        """A video from its first frame on; the first two frames are not counted."""
        self.timers.seconds.clear()
        self.predictor.reset()
        self.results, durations, used = [], [], []
        for i, frame in enumerate(frames):
            self.timers.is_counting = i >= 2
            started, cpu = time.perf_counter(), time.process_time()
            self.results.append(self.predictor.step(frame))
            durations.append(time.perf_counter() - started)
            used.append(time.process_time() - cpu)
        total = float(np.mean(durations[2:]))
        self.cpu_seconds = min(self.cpu_seconds, float(np.mean(used[2:])))
        if total < self.seconds:
            self.seconds = total
            self.stages = {k: v / len(durations[2:]) for k, v in self.timers.seconds.items()}


def bench_frames(args: argparse.Namespace) -> list[Row]:
    """Whole frames of a video: preparation to masks of the frame's size."""
    frames = list(generate_video(1, args.frames, 360, 640, 3).frames)
    rows: list[Row] = []
    for variant in args.variants:
        network = load(variant)
        for top_k in args.candidates:
            settings = InferenceSettings(nms_top_k=top_k, max_memory=None)
            runs = {"plain fp32": Run(network, settings, None)}
            runs |= {f"ours {k}": Run(network, settings, dtype) for k, dtype in FORMATS.items()}
            for _ in range(args.repeat):
                for run in runs.values():
                    run.round(frames)
            for name, run in runs.items():
                rows.append(_frames_row(variant, top_k, name, run, runs["plain fp32"]))
                show_row(rows[-1])
            del runs
            gc.collect()
    return rows


def _frames_row(variant: str, top_k: int, name: str, run: Run, plain: Run) -> Row:
    return {
        "variant": variant,
        "candidates": top_k,
        "engine": name,
        "seconds": run.seconds,
        "ratio": plain.seconds / run.seconds,
        "cpu_seconds": run.cpu_seconds,
        "cpu_ratio": plain.cpu_seconds / run.cpu_seconds,
        "shown": float(np.mean([len(result) for result in run.results])),
        "remembered": remembered(run.predictor),
        **agreement(run.results, plain.results),
        "stages": run.stages,
    }


def remembered(predictor: Predictor) -> int:
    """Entries of the memory after the last frame."""
    memory = predictor.tracker.memory
    return 0 if memory is None else len(memory)


def agreement(results: list[FrameResult], others: list[FrameResult]) -> Row:
    """How far two runs have the same instances: ids, classes, and pixels of their masks."""
    same, both, either = 0, 0, 0
    total = 0
    for a, b in zip(results, others, strict=True):
        at = {int(number): i for i, number in enumerate(b.ids)}
        shared = [(i, at[int(n)]) for i, n in enumerate(a.ids) if int(n) in at]
        same += sum(int(a.classes[i] == b.classes[j]) for i, j in shared)
        total += max(len(a), len(b))
        hit = sum(int((a.masks[i] & b.masks[j]).sum()) for i, j in shared)
        both += hit
        either += int(a.masks.sum()) + int(b.masks.sum()) - hit
    return {
        "same_instances": same / total if total else 1.0,
        "mask_iou": both / either if either else 1.0,
    }


def bench_memory(args: argparse.Namespace) -> list[Row]:
    """Resident memory of a long video, with and without instances, by a narrow network.

    What may grow is what is kept from frame to frame, and that does not depend on the width.
    """
    torch.manual_seed(0)
    sizes = {"stem_width": 16, "fpn_channels": 64, "temporal_channels": (64, 64, 128)}
    network = STMask(NetworkSettings(**sizes)).eval()  # type: ignore[arg-type]
    for weights in (x for x in network.parameters() if x.ndim == 4):
        torch.nn.init.kaiming_normal_(weights, nonlinearity="relu")  # masks that are not empty
    video = generate_video(3, 40, 90, 160, 2).frames
    rows = []
    for what, threshold in (("instances", 0.0), ("none", 1.0)):
        settings = InferenceSettings(
            image_size=(128, 64),
            nms_top_k=5,
            nms_conf_thresh=threshold,
            eval_conf_thresh=-1.0,  # all that is remembered is shown
            max_memory=50,
        )
        predictor = Predictor(network, settings)
        samples, shown = [], 0
        for t in range(args.memory_frames):
            shown += len(predictor.step(video[abs(t % 78 - 39)]))
            if t % 10 == 0:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                samples.append((t, pages * resource.getpagesize() / 2**20))
        points = np.array(samples)
        warm = points[points[:, 0] >= args.memory_frames // 5]
        rows.append(
            {
                "video": what,
                "frames": args.memory_frames,
                "shown": shown / args.memory_frames,
                "remembered": remembered(predictor),
                "rss_warm_mb": float(warm[0, 1]),
                "rss_end_mb": float(points[-1, 1]),
                "slope_mb_per_100_frames": 100 * float(np.polyfit(*warm.T, 1)[0]),
            }
        )
    return rows


def bench_precision(args: argparse.Namespace) -> list[Row]:
    """AP of the two clips of `overfit_stmask.py`, which a small network has learnt, by format."""
    if args.overfit is None:
        print("  needs --overfit, a folder that overfit_stmask.py --folder kept")
        return []
    folder = args.overfit.resolve()
    os.environ[DATA_ROOT_VARIABLE] = str(folder)
    weights = find_saved(folder / "weights", "latest")
    rows = []
    for name in FORMATS:
        out = folder / f"results_{name}.json"
        flags = ["--config", str(CONFIG), "--trained_model", str(weights), "--device", "cpu"]
        flags += ["--mask_det_file", str(out), "--use_valid_sub", "--workers", "1", "--no_bar"]
        eval_command.main([*flags, "--precision", name])
        file = out.with_name(f"{out.stem}_metrics.json")
        numbers = json.loads(file.read_text(encoding="utf-8"))["numbers"]
        rows.append({"format": name, **{k: numbers[k] for k in ("AP", "AP50", "AP75")}})
    return rows


def show_row(row: Row) -> None:
    """Prints a row."""
    flat = {k: v for k, v in row.items() if k != "stages"}
    flat |= {k: 1000 * v for k, v in row.get("stages", {}).items()}
    cells = (f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in flat.items())
    print("  " + "  ".join(cells), flush=True)


SECTIONS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "temporal": bench_temporal,
    "frames": bench_frames,
    "memory": bench_memory,
    "precision": bench_precision,
}


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = ArgumentParser("bench_stmask.py", description=__doc__)
    add = parser.add_argument
    add("--frames", type=int, default=8, help="frames of the video, two of which only warm up")
    add("--variants", nargs="+", default=list(VARIANTS), help="models of the section on frames")
    add(
        "--candidates",
        type=int,
        nargs="+",
        default=[10, 200],
        help="candidates that the suppression looks at; 200 is the released setting",
    )
    add("--memory-frames", type=int, default=2000, help="frames of the section on memory")
    add("--repeat", type=int, default=3, help="rounds of which the fastest counts")
    add("--threads", type=int, default=2, help="threads of PyTorch")
    add("--overfit", type=Path, help="folder of `overfit_stmask.py --folder`, for the AP by format")
    add("--only", nargs="+", choices=list(SECTIONS), help="sections to run; the rest is kept")
    add("--out", type=Path, default=RESULTS, help="recorded results")
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    names = args.only or list(SECTIONS)
    if len(names) > 1:
        # What one section leaves behind must not hide what the next one needs.
        for name in names:
            subprocess.run([sys.executable, __file__, *argv, "--only", name], check=True)
        return 0
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    known = args.out.is_file() and args.only
    result: dict[str, Any] = json.loads(args.out.read_text()) if known else {}
    result |= {
        "machine": f"{platform.processor() or platform.machine()}, {args.threads} threads",
        "torch": torch.__version__,
        "size": "384x640",
    }
    for name in names:
        print(name)
        load_before = os.getloadavg()[0]
        rows = SECTIONS[name](args)
        for row in rows if name != "frames" else ():
            show_row(row)
        result[name] = rows
        result.setdefault("load_average", {})[name] = [load_before, os.getloadavg()[0]]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        result.setdefault("peak_rss_mb", {})[name] = peak
        # After every section: a long run that is stopped keeps what it has measured.
        write_json(args.out, result)
    print(f"written to {args.out}")
    return 0


if __name__ == "__main__":
    run_cli(main)
