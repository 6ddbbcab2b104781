"""Speed and memory of video AP against the straightforward official procedure.

    python benchmarks/bench_video_ap.py [--repeat 2] [--seconds 2] [--skip-memory]

Baseline, in one process, as the official tool does it: both files are loaded at once, every pair
of a prediction and an object of the same class is compared frame by frame with two merges of run
lengths, and matching and accumulation are loops over classes, area ranges and videos. Ours:
`open_annotations`, `open_results` and `evaluate`. Both run from files to the 12 numbers, which
must agree to 1e-12. Each is timed in a process of its own, the start of the interpreter and the
imports apart. A third part scores a large set once, in another process, for its memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from timings import Timing, time_forms
from video_ap_plain import baseline

from vidseg_common.datasets.youtube_vis_lazy import open_annotations, open_results
from vidseg_common.files import write_json
from vidseg_common.metrics.video_ap import evaluate
from vidseg_common.rle import counts_to_string

DEFAULT_OUT = Path(__file__).resolve().parent / "results" / "video_ap.json"
TOLERANCE = 1e-12
NEEDED_RATIO = 10.0
MEMORY_LIMIT_GB = 2.0
ROUNDS = 3  # of all forms by turns, as others may use the machine too
HEIGHT, WIDTH = 360, 640


@dataclass(frozen=True)
class Load:
    """Size of a synthetic benchmark.

    Attributes:
        videos: number of videos.
        frames: frames of each.
        objects: objects of each.
        predictions: predicted tracks of each.
        variants: different masks per object from which predictions are drawn.
    """

    videos: int
    frames: int
    objects: int
    predictions: int
    variants: int = 0

    def __str__(self) -> str:
        return (
            f"{self.videos} videos x {self.frames} frames of {HEIGHT}p, "
            f"{self.videos * self.objects} objects, {self.videos * self.predictions} predictions"
        )


LOADS = (Load(20, 30, 4, 20), Load(60, 30, 4, 100), Load(20, 30, 8, 100))
MEMORY_LOAD = Load(300, 40, 4, 100, variants=3)


def blob_runs(center: np.ndarray, radii: np.ndarray, phase: float) -> np.ndarray:
    """Run lengths of a wavy ellipse, one run per column.

    Args:
        center: x and y.
        radii: half width and half height.
        phase: shifts the waves of its outline.
    """
    x = np.arange(max(0, int(center[0] - radii[0]) + 1), min(WIDTH, int(center[0] + radii[0])))
    u = (x - center[0]) / radii[0]
    half = radii[1] * np.sqrt(np.maximum(0, 1 - u * u)) * (1 + 0.1 * np.sin(9 * u + phase))
    top = np.clip(center[1] - half, 0, HEIGHT - 1).astype(int)
    bottom = np.clip(center[1] + half, top + 1, HEIGHT).astype(int)
    edges = np.stack([x * HEIGHT + top, x * HEIGHT + bottom], axis=1).ravel()
    return np.diff(np.concatenate([[0], edges, [HEIGHT * WIDTH]]))


def blob_track(rng: np.random.Generator, blob: dict, frames: int, noise: float) -> list:
    """Run lengths of a moving blob in every frame, None where it is hidden."""
    shift, scale = rng.normal(0, 25 * noise, 2), 1 + rng.normal(0, 0.25 * noise, 2)
    hidden = set(range(frames)) if rng.random() < 0.1 * noise else set()
    hidden = {t for t in hidden if t % 3} | set(rng.choice(frames, frames // 10).tolist())
    return [
        None
        if t in hidden
        else blob_runs(
            blob["center"] + shift + t * blob["speed"], blob["radii"] * scale, 0.1 * t + noise
        )
        for t in range(frames)
    ]


def make_blob(rng: np.random.Generator) -> dict:
    """Place, size and speed of an object."""
    return {
        "center": rng.uniform((150, 100), (490, 260)),
        "radii": rng.uniform((25, 25), (130, 90)),
        "speed": rng.uniform(-2.5, 2.5, 2),
    }


def write_files(load: Load, folder: Path) -> tuple[Path, Path]:
    """Writes ground truth with lists of run lengths, as the official files have, and results."""
    rng = np.random.default_rng(0)
    pool = [make_blob(rng) for _ in range(12)] if load.variants else []
    drawn: dict[int, list[list]] = {}
    annotations, gt, pred = [], folder / "gt.json", folder / "pred.json"
    with pred.open("w") as handle:
        for video in range(1, load.videos + 1):
            category = int(rng.integers(1, 41))
            blobs = [
                pool[rng.integers(len(pool))] if pool else make_blob(rng)
                for _ in range(load.objects)
            ]
            for k, blob in enumerate(blobs):
                number = len(annotations) + 1
                track = blob_track(rng, blob, load.frames, 0.0)
                annotations.append(annotation(number, video, category + (k == 3), track))
            for d in range(load.predictions):
                blob = blobs[d % load.objects]
                masks = predicted(rng, blob, load, drawn)
                entry = {
                    "video_id": video,
                    "category_id": category + (d % load.objects == 3),
                    "score": float(rng.uniform()),
                    "segmentations": masks,
                }
                handle.write(("[" if video == 1 and d == 0 else ", ") + json.dumps(entry))
        handle.write("]")
    names = [f"{t:05d}.jpg" for t in range(load.frames)]
    videos = [
        {"id": v, "width": WIDTH, "height": HEIGHT, "length": load.frames}
        | {"file_names": [f"{v:04d}/{name}" for name in names]}
        for v in range(1, load.videos + 1)
    ]
    categories = [{"id": c, "name": f"class {c}", "supercategory": ""} for c in range(1, 42)]
    write_json(
        gt, {"videos": videos, "categories": categories, "annotations": annotations}, indent=None
    )
    return gt, pred


def annotation(number: int, video: int, category: int, track: list) -> dict:
    """An annotation in the form of the official files."""
    size = [HEIGHT, WIDTH]
    return {
        "id": number,
        "video_id": video,
        "category_id": category,
        "iscrowd": 0,
        "segmentations": [m if m is None else {"size": size, "counts": m.tolist()} for m in track],
        "areas": [m if m is None else int(m[1::2].sum()) for m in track],
        "bboxes": [m if m is None else [0, 0, 1, 1] for m in track],
    }


def predicted(rng: np.random.Generator, blob: dict, load: Load, drawn: dict) -> list:
    """Masks of a prediction: a disturbed object, made anew or drawn from a few."""
    known = drawn.setdefault(id(blob), [])
    if load.variants and len(known) == load.variants:
        return known[rng.integers(len(known))]
    size, noise = [HEIGHT, WIDTH], float(rng.uniform(0.1, 1.5))
    masks = [
        m if m is None else {"size": size, "counts": counts_to_string(m)}
        for m in blob_track(rng, blob, load.frames, noise)
    ]
    if load.variants:
        known.append(masks)
    return masks


def ours(gt_path: Path, pred_path: Path, workers: int) -> list[float]:
    """The evaluation of this repository, in the same form."""
    truth = open_annotations(gt_path)
    result = evaluate(truth, open_results(pred_path, truth), workers=workers)
    return list(result.numbers.values())


def measure_load(load: Load, args: argparse.Namespace) -> dict:
    """Times every form on one load, from the files to the 12 numbers."""
    forms = {
        "baseline, 1 process": 0,
        "ours, 1 process": 1,
        f"ours, {args.workers} processes": args.workers,
    }
    timings: dict[str, Timing[list[float]]] = {form: Timing() for form in forms}
    with tempfile.TemporaryDirectory() as folder:
        gt, pred = write_files(load, Path(folder))
        sizes = {"gt_mb": gt.stat().st_size / 1e6, "pred_mb": pred.stat().st_size / 1e6}
        for _ in range(ROUNDS):
            for form, workers in forms.items():
                add_runs(timings[form], gt, pred, workers, args)
        read = {"json": lambda: [len(json.loads(path.read_text())) for path in (gt, pred)]}
        parsing = time_forms(read, args.repeat)["json"]
    return {
        "load": str(load),
        **asdict(load),
        **sizes,
        "json_loads_s": min(parsing.wall),
        "rows": rows_of(timings),
    }


def add_runs(
    timing: Timing[list[float]], gt: Path, pred: Path, workers: int, args: argparse.Namespace
) -> None:
    """Times a form in a process of its own: what the others leave in memory would slow it down."""
    command = [sys.executable, __file__, "--time", str(gt), str(pred), "--workers", str(workers)]
    command += ["--repeat", str(args.repeat), "--seconds", str(args.seconds)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    timing.wall += found["wall"]
    timing.cpu += found["cpu"]
    timing.results += found["results"]


def print_runs(args: argparse.Namespace) -> None:
    """Prints the times of the baseline, of 0 workers, or of ours."""
    gt, pred = args.time
    form = (lambda: ours(gt, pred, args.workers)) if args.workers else lambda: baseline(gt, pred)
    print(json.dumps(asdict(time_forms({"": form}, args.repeat, args.seconds)[""])))


def rows_of(timings: dict[str, Timing[list[float]]]) -> list[dict]:
    """One record per form, compared to the first."""
    first = next(iter(timings.values()))
    return [
        {
            "form": form,
            "wall_s": min(timing.wall),
            "cpu_s": min(timing.cpu),
            "all_wall_s": timing.wall,
            "all_cpu_s": timing.cpu,
            "wall_ratio": min(first.wall) / min(timing.wall),
            "cpu_ratio": min(first.cpu) / min(timing.cpu),
            "max_error": float(np.abs(np.subtract(timing.results[-1], first.results[-1])).max()),
            "AP": timing.results[-1][0],
        }
        for form, timing in timings.items()
    ]


def measure_memory(args: argparse.Namespace) -> dict:
    """Peak memory of scoring a large set in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        gt, pred = write_files(MEMORY_LOAD, Path(folder))
        command = [sys.executable, __file__, "--score", str(gt), str(pred)]
        command += ["--workers", str(args.workers)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        size = pred.stat().st_size / 1e6
    return {"load": str(MEMORY_LOAD), "pred_mb": size, "limit_gb": MEMORY_LIMIT_GB} | json.loads(
        text
    )


def score(gt: Path, pred: Path, workers: int) -> None:
    """Scores once and prints time and peak memory of this process and of the largest child."""
    start = time.perf_counter()
    numbers = ours(gt, pred, workers)
    wall = time.perf_counter() - start
    kinds = {"main_gb": resource.RUSAGE_SELF, "worker_gb": resource.RUSAGE_CHILDREN}
    peaks = {name: resource.getrusage(kind).ru_maxrss / 2**20 for name, kind in kinds.items()}
    # A forked worker shares pages with the main process; counting them again errs on the safe side.
    peaks["peak_gb"] = peaks["main_gb"] + workers * peaks["worker_gb"] * (workers > 1)
    print(json.dumps({"wall_s": wall, "workers": workers, "AP": numbers[0], **peaks}))


def print_table(record: dict) -> None:
    """Prints the record for people."""
    for load in record["loads"]:
        runs = len(load["rows"][0]["all_wall_s"])
        print(f"{load['load']}; best of {runs}; json.loads alone {load['json_loads_s']:.3f} s")
        print(f"{'form':<22}{'wall s':>9}{'CPU s':>8}{'wall ratio':>12}", end="")
        print(f"{'CPU ratio':>11}{'max error':>11}")
        for row in load["rows"]:
            print(
                f"{row['form']:<22}{row['wall_s']:>9.3f}{row['cpu_s']:>8.2f}"
                f"{row['wall_ratio']:>12.1f}{row['cpu_ratio']:>11.1f}{row['max_error']:>11.1e}"
            )
    memory = record["memory"]
    if memory:
        print(
            f"{memory['load']}: {memory['wall_s']:.1f} s, peak {memory['peak_gb']:.2f} GB of "
            f"{memory['limit_gb']:.0f} GB ({memory['workers']} processes)"
        )


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=2, help="fewest runs of a form at a time")
    parser.add_argument("--seconds", type=float, default=2, help="time for them, at least")
    parser.add_argument("--skip-memory", action="store_true", help="leave out the large set")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--score", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--time", nargs=2, type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Runs the benchmark; status 1 when the forms disagree or memory is above its limit."""
    args = parse_args()
    if args.score:
        score(*args.score, args.workers)
        return 0
    if args.time:
        print_runs(args)
        return 0
    record = {
        "benchmark": "video_ap",
        "loads": [measure_load(load, args) for load in LOADS],
        "memory": {} if args.skip_memory else measure_memory(args),
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "needed_ratio": NEEDED_RATIO,
    }
    print_table(record)
    write_json(args.out, record)
    print(f"written: {args.out}")
    agree = all(row["max_error"] <= TOLERANCE for load in record["loads"] for row in load["rows"])
    fits = args.skip_memory or record["memory"]["peak_gb"] <= MEMORY_LIMIT_GB
    if not agree:
        print(f"the forms differ by more than {TOLERANCE}", file=sys.stderr)
    if not fits:
        print(f"peak memory is above {MEMORY_LIMIT_GB} GB", file=sys.stderr)
    return 0 if agree and fits else 1


if __name__ == "__main__":
    sys.exit(main())
