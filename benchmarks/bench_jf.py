"""Speed of the J&F evaluation against the straightforward official procedure.

    python benchmarks/bench_jf.py --davis DAVIS2016_ROOT [--results PREDICTIONS] [--repeat 3]

Baseline, in one process, as the official tool does it: the masks of a whole sequence are loaded
as float64 one-hot arrays, and for every object and frame J, two full-frame boundary maps and two
full-frame OpenCV dilations follow. Ours: `evaluate_davis` with two workers. Both score the same
frames by the rule of DAVIS 2016 and must agree to 1e-12.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from vidseg_common.files import write_json
from vidseg_common.masks import write_binary_mask
from vidseg_common.metrics.davis_jf import evaluate_davis

DEFAULT_OUT = Path(__file__).resolve().parent / "results" / "jf.json"
TOLERANCE = 1e-12
NEEDED_RATIO = 10.0

Scores = dict[str, np.ndarray]  # sequence -> (2, T) J and F


def load_one_hot(folder: Path, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """All masks of a sequence as (K, T, H, W) float64 with K = 1, and the void maps (T, H, W).

    By the rule of DAVIS 2016 every value is the object and nothing is void.
    """
    first = np.array(Image.open(folder / names[0]))
    ids = np.zeros((len(names), *first.shape))
    for t, name in enumerate(names):
        ids[t] = np.array(Image.open(folder / name)) > 0
    void = np.zeros_like(ids)
    objects = np.ones((1, *ids.shape)) * np.arange(1, 2)[:, None, None, None]
    return (objects == ids[None]).astype(np.float64), void


def boundary_full(mask: np.ndarray) -> np.ndarray:
    """Boundary map over the full frame: pixels that differ from right, lower or diagonal."""
    right, below, diagonal = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    right[:, :-1] = mask[:, 1:]
    below[:-1] = mask[1:]
    diagonal[:-1, :-1] = mask[1:, 1:]
    edge = mask ^ right | mask ^ below | mask ^ diagonal
    edge[-1] = mask[-1] ^ right[-1]
    edge[:, -1] = mask[:, -1] ^ below[:, -1]
    edge[-1, -1] = 0
    return edge


def j_full(gt: np.ndarray, pred: np.ndarray, void: np.ndarray) -> np.ndarray:
    """J of all frames (T, H, W) of one object."""
    gt, pred, valid = gt.astype(bool), pred.astype(bool), ~void.astype(bool)
    intersection = np.sum(gt & pred & valid, axis=(-2, -1))
    union = np.sum((gt | pred) & valid, axis=(-2, -1))
    return np.where(union == 0, 1.0, intersection / np.maximum(union, 1))


def f_full(gt: np.ndarray, pred: np.ndarray, void: np.ndarray) -> float:
    """F of one frame with boundary maps and dilations of the full frame."""
    radius = int(np.ceil(0.008 * np.linalg.norm(gt.shape)))
    offsets = np.arange(-radius, radius + 1)
    disc = (offsets[:, None] ** 2 + offsets[None] ** 2 <= radius**2).astype(np.uint8)
    valid = ~void.astype(bool)
    gt_edge = boundary_full(gt.astype(bool) & valid)
    pred_edge = boundary_full(pred.astype(bool) & valid)
    gt_reach = cv2.dilate(gt_edge.astype(np.uint8), disc)
    pred_reach = cv2.dilate(pred_edge.astype(np.uint8), disc)
    num_gt, num_pred = np.sum(gt_edge), np.sum(pred_edge)
    if num_gt == 0 or num_pred == 0:
        return float(num_gt == num_pred)
    precision = np.sum(pred_edge * gt_reach) / float(num_pred)
    recall = np.sum(gt_edge * pred_reach) / float(num_gt)
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def baseline(gt_root: Path, results: Path, sequences: list[str]) -> Scores:
    """The straightforward procedure for all sequences, one after the other."""
    scores: Scores = {}
    for sequence in sequences:
        names = sorted(path.name for path in (gt_root / sequence).glob("*.png"))
        all_gt, void = load_one_hot(gt_root / sequence, names)
        all_pred, _ = load_one_hot(results / sequence, names)
        gt, pred, void = all_gt[:, 1:-1], all_pred[:, 1:-1], void[1:-1]
        j = j_full(gt[0], pred[0], void)
        f = [f_full(gt[0, t], pred[0, t], void[t]) for t in range(len(void))]
        scores[sequence] = np.stack([j, f])
    return scores


def ours(gt_root: Path, results: Path, sequences: list[str], workers: int) -> Scores:
    """The evaluation of this repository, in the same form."""
    result = evaluate_davis(
        gt_root, results, sequences, binary=True, workers=workers, progress=False
    )
    return {row.sequence: np.array([row.j_frames, row.f_frames]) for row in result.rows}


def cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@dataclass
class Timing:
    """Wall and processor seconds of every run, and what the last run returned."""

    wall: list[float]
    cpu: list[float]
    scores: Scores


def time_runs(function: Callable[[], Scores], repeat: int) -> Timing:
    """Runs a form several times; the best run counts, as others may use the machine too."""
    timing = Timing([], [], {})
    for _ in range(repeat):
        start, cpu_start = time.perf_counter(), cpu_seconds()
        timing.scores = function()
        timing.wall.append(time.perf_counter() - start)
        timing.cpu.append(cpu_seconds() - cpu_start)
    return timing


def shifted_results(gt_root: Path, sequences: list[str], folder: Path) -> Path:
    """Stand-in predictions: the annotations moved by a few pixels, growing with time."""
    for sequence in sequences:
        for t, path in enumerate(sorted((gt_root / sequence).glob("*.png"))):
            mask = np.roll(np.array(Image.open(path)) > 0, (t % 9, t % 13), axis=(0, 1))
            write_binary_mask(folder / sequence / path.name, mask)
    return folder


def common_sequences(gt_root: Path, results: Path | None) -> list[str]:
    """Sequences that have annotations and, where given, predictions."""
    names = sorted(path.name for path in gt_root.iterdir() if path.is_dir())
    return [n for n in names if results is None or (results / n).is_dir()]


def measure(args: argparse.Namespace, results: Path, gt_root: Path) -> dict:
    """Times every form, checks that all agree and returns the record."""
    sequences = common_sequences(gt_root, results)
    if not sequences:
        raise SystemExit(f"error: no sequence that both {gt_root} and {results} have")
    # The official tool leaves OpenCV its threads; "one process" is meant to be one core here.
    cv2.setNumThreads(1)
    forms = {
        "baseline, 1 process": lambda: baseline(gt_root, results, sequences),
        "ours, 1 process": lambda: ours(gt_root, results, sequences, 1),
        f"ours, {args.workers} processes": lambda: ours(gt_root, results, sequences, args.workers),
    }
    timings = {name: time_runs(function, args.repeat) for name, function in forms.items()}
    rows = rows_of(timings, sequences)
    return {
        "benchmark": "jf",
        "sequences": sequences,
        "predictions": "given" if args.results else "annotations shifted",
        "repeat": args.repeat,
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "needed_ratio": NEEDED_RATIO,
        "rows": rows,
    }


def rows_of(timings: dict[str, Timing], sequences: list[str]) -> list[dict]:
    """One record per form, compared to the first."""
    first = next(iter(timings.values()))
    frames = sum(first.scores[name].shape[1] for name in sequences)
    return [
        {
            "form": form,
            "frames": frames,
            "wall_s": min(timing.wall),
            "cpu_s": min(timing.cpu),
            "all_wall_s": timing.wall,
            "all_cpu_s": timing.cpu,
            "ms_per_frame": 1000 * min(timing.wall) / frames,
            "wall_ratio": min(first.wall) / min(timing.wall),
            "cpu_ratio": min(first.cpu) / min(timing.cpu),
            "max_error": max(
                float(np.abs(timing.scores[name] - first.scores[name]).max()) for name in sequences
            ),
        }
        for form, timing in timings.items()
    ]


def print_table(record: dict) -> None:
    """Prints the record for people."""
    print(f"J&F of {len(record['sequences'])} sequences, best of {record['repeat']}")
    print(f"{'form':<22}{'wall s':>9}{'CPU s':>8}{'ms/frame':>10}", end="")
    print(f"{'wall ratio':>12}{'CPU ratio':>11}{'max error':>11}")
    for row in record["rows"]:
        print(
            f"{row['form']:<22}{row['wall_s']:>9.3f}{row['cpu_s']:>8.2f}"
            f"{row['ms_per_frame']:>10.2f}{row['wall_ratio']:>12.1f}{row['cpu_ratio']:>11.1f}"
            f"{row['max_error']:>11.1e}"
        )


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--davis", type=Path, required=True, help="root of DAVIS 2016")
    parser.add_argument("--results", type=Path, help="predictions, SEQUENCE/NNNNN.png")
    parser.add_argument("--resolution", default="480p")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each form; the best counts")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    return parser.parse_args()


def main() -> int:
    """Runs the benchmark; status 1 when the forms disagree."""
    args = parse_args()
    gt_root = args.davis / "Annotations" / args.resolution
    with tempfile.TemporaryDirectory() as folder:
        results = args.results
        if results is None:
            results = shifted_results(gt_root, common_sequences(gt_root, None), Path(folder))
        record = measure(args, results, gt_root)
    print_table(record)
    write_json(args.out, record)
    print(f"written: {args.out}")
    agree = all(row["max_error"] <= TOLERANCE for row in record["rows"])
    if not agree:
        print(f"the forms differ by more than {TOLERANCE}", file=sys.stderr)
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
