"""Speed of the J&F evaluation against the straightforward official procedure.

    python benchmarks/bench_jf.py --davis DAVIS2016_ROOT [--results PREDICTIONS] [--repeat 3]

Three sets: one object (DAVIS 2016, real sequences), several objects and unsupervised with 20
proposals (both synthetic, 480 x 854). The baseline (`jf_plain`) runs in one process, as the
official tool does; where the package vos-benchmark is installed it is timed on the first two sets
with the same number of processes as ours. All forms score the same frames and must agree.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jf_plain import Scores, semi_supervised, unsupervised, vos_benchmark_form
from PIL import Image
from timings import Timing, time_forms

from vidseg_common.files import write_json
from vidseg_common.masks import write_mask
from vidseg_common.metrics.davis_jf import evaluate_davis
from vidseg_common.synthetic_cli import generate_videos

DEFAULT_OUT = Path(__file__).resolve().parent / "results" / "jf.json"
TOLERANCE = 1e-12
NEEDED_RATIO = 10.0
NUM_PROPOSALS = 20
SIZE = (480, 854)

Form = Callable[[], Scores]


def ours(gt_root: Path, results: Path, sequences: list[str], workers: int, **options) -> Scores:
    """The evaluation of this repository, in the form of the others."""
    result = evaluate_davis(gt_root, results, sequences, workers=workers, progress=False, **options)
    return {
        name: np.array([[r.j.mean, r.f.mean] for r in result.rows if r.sequence == name])
        for name in sequences
    }


def copy_as_ids(source: Path, target: Path, sequences: list[str]) -> Path:
    """Writes masks of one object as palette files of 0 and 1, which every form can read."""
    for sequence in sequences:
        for path in sorted((source / sequence).glob("*.png")):
            write_mask(target / sequence / path.name, np.array(Image.open(path)) > 0)
    return target


def shifted(gt_root: Path, target: Path, sequences: list[str]) -> Path:
    """Stand-in predictions: the annotations moved by a few pixels, growing with time."""
    for sequence in sequences:
        for t, path in enumerate(sorted((gt_root / sequence).glob("*.png"))):
            mask = np.roll(np.array(Image.open(path)), (t % 9, t % 13), axis=(0, 1))
            write_mask(target / sequence / path.name, mask)
    return target


def with_proposals(pred: Path, target: Path, sequences: list[str], last: int) -> Path:
    """Adds moving boxes with the ids up to 20 behind the predicted objects `1..last`."""
    rng = np.random.default_rng(0)
    for sequence in sequences:
        places = rng.integers((0, 0), SIZE, (NUM_PROPOSALS + 1, 2))
        for t, path in enumerate(sorted((pred / sequence).glob("*.png"))):
            mask = np.zeros(SIZE, np.uint8)
            for object_id in range(last + 1, NUM_PROPOSALS + 1):
                y, x = (places[object_id] + (2 * t, 3 * t)) % SIZE
                mask[y : y + 60, x : x + 90] = object_id
            ids = np.array(Image.open(path))
            write_mask(target / sequence / path.name, np.where(ids > 0, ids, mask))
    return target


def synthetic_annotations(target: Path, num_videos: int, num_frames: int, objects: int) -> Path:
    """Masks of synthetic videos, all of whose objects are in the first frame."""
    made = 0
    for video in generate_videos(11, 10 * num_videos, num_frames, *SIZE, objects):
        if len(np.unique(video.visible[0])) != objects + 1:
            continue
        for t, mask in enumerate(video.visible):
            write_mask(target / video.name / f"{t:05d}.png", mask)
        made += 1
        if made == num_videos:
            break
    return target


def sequences_of(gt_root: Path, results: Path | None = None) -> list[str]:
    """Sequences that have annotations and, where given, predictions."""
    names = sorted(path.name for path in gt_root.iterdir() if path.is_dir())
    return [n for n in names if results is None or (results / n).is_dir()]


@dataclass(frozen=True)
class BenchmarkSet:
    """What is scored, and by which rule."""

    name: str
    gt: Path
    pred: Path
    is_unsupervised: bool = False

    @property
    def sequences(self) -> list[str]:
        """All of them."""
        return sequences_of(self.gt)

    def forms(self, workers: int) -> dict[str, Form]:
        """Every way to score it; the baseline first."""
        gt, pred, names = self.gt, self.pred, self.sequences
        task = "unsupervised" if self.is_unsupervised else "semi-supervised"
        plain: Form = (
            (lambda: unsupervised(gt, pred, names))
            if self.is_unsupervised
            else (lambda: semi_supervised(gt, pred, names, False))
        )
        forms: dict[str, Form] = {"baseline, 1 process": plain}
        for number in sorted({1, workers}):
            text = f"{number} process{'es' * (number > 1)}"
            forms[f"ours, {text}"] = lambda n=number: ours(gt, pred, names, n, task=task)
            other = None if self.is_unsupervised else vos_benchmark_form(gt, pred, number)
            if other is not None:
                forms[f"vos-benchmark, {text}"] = other
        return forms


def prepare(args: argparse.Namespace, folder: Path) -> Iterator[BenchmarkSet]:
    """Writes the masks of every set."""
    source = args.davis / "Annotations" / args.resolution
    names = sequences_of(source, args.results)
    if not names:
        raise SystemExit(f"error: no sequence that both {source} and {args.results} have")
    gt = copy_as_ids(source, folder / "one" / "gt", names)
    pred = folder / "one" / "pred"
    _ = copy_as_ids(args.results, pred, names) if args.results else shifted(gt, pred, names)
    yield BenchmarkSet("DAVIS 2016", gt, pred)
    gt = synthetic_annotations(folder / "several" / "gt", 4, args.frames, 4)
    pred = shifted(gt, folder / "several" / "pred", sequences_of(gt))
    yield BenchmarkSet("4 objects", gt, pred)
    gt = synthetic_annotations(folder / "all" / "gt", 1, args.unsupervised_frames, 3)
    pred = shifted(gt, folder / "all" / "shifted", sequences_of(gt))
    proposals = with_proposals(pred, folder / "all" / "pred", sequences_of(gt), 3)
    yield BenchmarkSet("unsupervised, 3 x 20", gt, proposals, is_unsupervised=True)


def rows_of(data: BenchmarkSet, timings: dict[str, Timing[Scores]]) -> list[dict]:
    """One record per form of a set, compared to the first."""
    first = next(iter(timings.values()))
    skipped = 0 if data.is_unsupervised else 2
    frames = sum(len(list((data.gt / name).glob("*.png"))) - skipped for name in data.sequences)
    return [
        {
            "set": data.name,
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
                float(np.abs(timing.results[-1][name] - first.results[-1][name]).max())
                for name in data.sequences
            ),
        }
        for form, timing in timings.items()
    ]


def print_table(record: dict) -> None:
    """Prints the record for people."""
    print(f"J&F, best of {record['repeat']}")
    print(f"{'set':<22}{'form':<28}{'wall s':>9}{'CPU s':>8}{'ms/frame':>10}", end="")
    print(f"{'wall ratio':>12}{'CPU ratio':>11}{'max error':>11}")
    for row in record["rows"]:
        print(
            f"{row['set']:<22}{row['form']:<28}{row['wall_s']:>9.3f}{row['cpu_s']:>8.2f}"
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
    parser.add_argument("--frames", type=int, default=40, help="frames of sequences of 4 objects")
    parser.add_argument("--unsupervised-frames", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each form; the best counts")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    return parser.parse_args()


def main() -> int:
    """Runs the benchmark; status 1 when the forms disagree."""
    args = parse_args()
    # The official tool leaves OpenCV its threads; "one process" is meant to be one core here.
    cv2.setNumThreads(1)
    rows: list[dict] = []
    sequences: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for data in prepare(args, Path(folder)):
            sequences = sequences or data.sequences
            rows += rows_of(data, time_forms(data.forms(args.workers), args.repeat))
    record = {
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
    print_table(record)
    write_json(args.out, record)
    print(f"written: {args.out}")
    agree = all(row["max_error"] <= TOLERANCE for row in rows)
    if not agree:
        print(f"the forms differ by more than {TOLERANCE}", file=sys.stderr)
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
