"""Speed of the MOTS evaluation against the straightforward official procedure.

    python benchmarks/bench_mots.py [--frames 150] [--tracks 12] [--sequences 2] [--repeat 5]

Baseline, in one process, as the official tool does it: for every class, every frame and every
pair of a ground truth and a prediction, the intersection is merged and measured, and so are both
masks; every prediction without a match is merged with the union of the ignore regions. Ours: one
IoU matrix per frame. Timed on synthetic sequences: the sMOTSA family of masks in memory, the
same from files to numbers (the baseline reads as the official tool does, ours checks every mask),
and HOTA, CLEAR and Identity together. The forms of one thing must agree to 1e-12.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pycocotools
from pycocotools import mask as coco_mask
from timings import Timing, time_forms

from vidseg_common.datasets.mots_files import CLASS_NAMES, MotsObject, format_txt, read_sequence
from vidseg_common.files import write_json, write_text
from vidseg_common.metrics import hota, mots
from vidseg_common.metrics.mots_data import (
    FrameObjects,
    FrameOverlaps,
    frames_of_objects,
    overlaps_of_frame,
    select_class,
)
from vidseg_common.rle import encode

DEFAULT_OUT = Path(__file__).resolve().parent / "results" / "mots.json"
TOLERANCE = 1e-12
NEEDED_RATIO = 5.0
SIZE = (375, 1242)
IGNORE = 10

Sequences = dict[str, tuple[list[MotsObject], list[MotsObject]]]  # name -> truth, predictions
Numbers = dict[str, float]


def draw_sequence(
    seed: int, num_frames: int, num_tracks: int, num_classes: int
) -> tuple[list, list]:
    """Ellipses that move through an image of KITTI, and predictions that lag a little behind."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    start = rng.uniform((60, 40), (SIZE[0] - 40, SIZE[1] - 40), (num_tracks, 2))
    speed = rng.uniform((-0.3, -3), (0.3, 3), (num_tracks, 2))
    radius = rng.uniform((15, 15), (45, 70), (num_tracks, 2))
    sides: tuple[list[MotsObject], list[MotsObject]] = ([], [])
    for t in range(num_frames):
        for side, lag in zip(sides, (0.0, 4.0), strict=True):
            id_map = np.zeros(SIZE, np.int32)
            id_map[:30, 500:700] = 10000 if lag == 0 else 1999
            for k in range(num_tracks):
                y, x = (start[k] + speed[k] * t) % SIZE + lag * rng.standard_normal(2)
                inside = ((rows - y) / radius[k, 0]) ** 2 + ((columns - x) / radius[k, 1]) ** 2 < 1
                class_id = 1 + k % num_classes
                changed = lag and t >= num_frames // 2 and k % 4 == 0
                id_map[inside] = class_id * 1000 + k + (100 if changed else 0)
            side += [
                MotsObject(t, int(i), int(i) // 1000, encode(id_map == i))
                for i in np.unique(id_map)
                if i
            ]
    return sides


def by_frame(objects: list[MotsObject], num_frames: int) -> list[list[MotsObject]]:
    """The objects of every frame."""
    frames: list[list[MotsObject]] = [[] for _ in range(num_frames)]
    for found in objects:
        frames[found.frame].append(found)
    return frames


def intersection(a: dict, b: dict) -> int:
    """Pixels that two masks share, by merging them."""
    return int(coco_mask.area(coco_mask.merge([a, b], intersect=True)))


def baseline_class(
    truth: list[list[MotsObject]], predictions: list[list[MotsObject]], class_id: int
) -> Numbers:
    """The straightforward procedure for one class of one sequence."""
    tp = fp = fn = 0
    soft = 0.0
    tracks: dict[int, list[int]] = {}
    for gts, preds in zip(truth, predictions, strict=True):
        region = coco_mask.merge([o.rle for o in gts if o.class_id == IGNORE])
        gts = [o for o in gts if o.class_id == class_id]
        preds = [o for o in preds if o.class_id == class_id]
        matched: dict[int, int] = {}
        for gt in gts:
            for pred in preds:
                shared = intersection(gt.rle, pred.rle)
                union = int(coco_mask.area(gt.rle)) + int(coco_mask.area(pred.rle)) - shared
                if shared / union > 0.5:
                    matched[gt.track_id] = pred.track_id
                    soft += shared / union
            tracks.setdefault(gt.track_id, []).append(matched.get(gt.track_id, -1))
        tp += len(matched)
        fn += len(gts) - len(matched)
        for pred in preds:
            if pred.track_id not in matched.values():
                inside = intersection(pred.rle, region) / int(coco_mask.area(pred.rle))
                fp += not inside > 0.5
    switches = sum(count_switches(history) for history in tracks.values())
    return {"tp": tp, "fp": fp, "fn": fn, "total_cost": soft, "id_switches": switches}


def count_switches(history: list[int]) -> int:
    """Identity switches of one track."""
    found = [partner for partner in history if partner != -1]
    return sum(a != b for a, b in pairwise(found))


def baseline(sequences: Sequences, num_frames: int) -> Numbers:
    """The straightforward procedure on masks in memory."""
    total: Numbers = {}
    for name, (truth, predictions) in sequences.items():
        sides = by_frame(truth, num_frames), by_frame(predictions, num_frames)
        for class_id in CLASS_NAMES:
            for key, value in baseline_class(*sides, class_id).items():
                total[f"{name} {class_id} {key}"] = value
    return total


def read_plain(path: Path) -> list[MotsObject]:
    """Reads a sequence without checking anything but overlaps, as the official tool does."""
    objects: list[MotsObject] = []
    for line in path.read_text().splitlines():
        frame, track, class_id, height, width, counts = line.split()
        rle = {"size": [int(height), int(width)], "counts": counts.encode()}
        objects.append(MotsObject(int(frame), int(track), int(class_id), rle))  # type: ignore[arg-type]
    for frame_objects in by_frame(objects, 1 + max(o.frame for o in objects)):
        joined = None
        for found in frame_objects:
            if joined is not None and intersection(joined, found.rle):
                raise SystemExit("error: masks overlap")
            joined = coco_mask.merge([joined or found.rle, found.rle])
    return objects


def baseline_files(root: Path, names: list[str], num_frames: int) -> Numbers:
    """The straightforward procedure from files."""
    sides = ("gt", "pred")
    read = {name: tuple(read_plain(root / s / f"{name}.txt") for s in sides) for name in names}
    return baseline(read, num_frames)  # type: ignore[arg-type]


def frames_in_memory(
    sequences: Sequences, num_frames: int
) -> dict[str, list[tuple[FrameObjects, FrameObjects]]]:
    """Both sides of every frame, as the evaluation holds them after reading."""
    return {
        name: list(zip(*(frames_of_objects(side, num_frames) for side in sides), strict=True))
        for name, sides in sequences.items()
    }


def overlaps_in_memory(sequences: Sequences, num_frames: int) -> dict[str, list[FrameOverlaps]]:
    """One IoU matrix per frame."""
    frames = frames_in_memory(sequences, num_frames)
    return {name: [overlaps_of_frame(*p) for p in pairs] for name, pairs in frames.items()}


def ours(sequences: Sequences, num_frames: int) -> Numbers:
    """The sMOTSA family of this repository, in the form of the baseline."""
    total: Numbers = {}
    for name, overlaps in overlaps_in_memory(sequences, num_frames).items():
        for class_id, counts in mots.count_mots(overlaps, CLASS_NAMES).items():
            total |= chosen(f"{name} {class_id}", counts.numbers())
    return total


def chosen(prefix: str, numbers: Numbers) -> Numbers:
    """The numbers that the baseline has too."""
    keys = ("tp", "fp", "fn", "total_cost", "id_switches")
    return {f"{prefix} {key}": numbers[key] for key in keys}


def ours_files(root: Path, names: list[str], num_frames: int, workers: int) -> Numbers:
    """The evaluation of this repository from files."""
    sequences = [(name, num_frames - 1) for name in names]
    result = mots.evaluate_files(root / "pred", root / "gt", sequences, workers=workers)
    total: Numbers = {}
    for class_id, class_name in CLASS_NAMES.items():
        for name, counts in result.counts[class_name].items():
            total |= chosen(f"{name} {class_id}", counts.numbers())
    return total


def tracking(sequences: Sequences, num_frames: int) -> Numbers:
    """HOTA, CLEAR and Identity on masks in memory."""
    total: Numbers = {}
    for name, overlaps in overlaps_in_memory(sequences, num_frames).items():
        for class_id in CLASS_NAMES:
            numbers = hota.score_sequence(select_class(overlaps, class_id)).numbers()
            total |= {f"{name} {class_id} {key}": numbers[key] for key in ("HOTA", "MOTA", "IDF1")}
    return total


def tracking_after_mots(sequences: Sequences, num_frames: int) -> Numbers:
    """The sMOTSA family, HOTA, CLEAR and Identity from the same IoU matrices."""
    total: Numbers = {}
    for name, overlaps in overlaps_in_memory(sequences, num_frames).items():
        for class_id in CLASS_NAMES:
            part = select_class(overlaps, class_id)
            numbers = hota.score_sequence(part).numbers()
            total |= {f"{name} {class_id} {key}": numbers[key] for key in ("HOTA", "MOTA", "IDF1")}
        mots.count_mots(overlaps, CLASS_NAMES)
    return total


def rows_of(group: str, timings: dict[str, Timing[Numbers]], frames: int) -> list[dict]:
    """One record per form, compared to the first of its group."""
    first = next(iter(timings.values()))
    return [
        {
            "group": group,
            "form": form,
            "frames": frames,
            "wall_s": min(timing.wall),
            "cpu_s": min(timing.cpu),
            "all_wall_s": timing.wall,
            "all_cpu_s": timing.cpu,
            "ms_per_frame": 1000 * min(timing.wall) / frames,
            "wall_ratio": min(first.wall) / min(timing.wall),
            "cpu_ratio": min(first.cpu) / min(timing.cpu),
            "max_error": largest_error(timing.results[-1], first.results[-1]),
        }
        for form, timing in timings.items()
    ]


def largest_error(numbers: Numbers, first: Numbers) -> float:
    """Largest difference by the size of the number: sums of IoU have hundreds of terms."""
    return max(abs(numbers[key] - first[key]) / max(1.0, abs(first[key])) for key in first)


def measure(args: argparse.Namespace, root: Path) -> dict:
    """Draws the sequences, times every form and returns the record."""
    names = [f"{i:04d}" for i in range(args.sequences)]
    for i, name in enumerate(names):
        # The first holds cars only, the others cars and pedestrians in equal parts.
        drawn = draw_sequence(i, args.frames, args.tracks, min(i + 1, 2))
        for side, objects in zip(("gt", "pred"), drawn, strict=True):
            write_text(root / side / f"{name}.txt", format_txt(objects))
    read = {n: tuple(read_sequence(root / s / f"{n}.txt") for s in ("gt", "pred")) for n in names}
    cars, both = ({name: read[name]} for name in names[:2])
    n = args.frames
    groups: dict[str, dict[str, Callable[[], Numbers]]] = {
        "sMOTSA, one class, in memory": {
            "baseline": partial(baseline, cars, n),
            "ours": partial(ours, cars, n),
        },
        "sMOTSA, two classes, in memory": {
            "baseline": partial(baseline, both, n),
            "ours": partial(ours, both, n),
        },
        "sMOTSA, from files": {
            "baseline, 1 process": partial(baseline_files, root, names, n),
            "ours, 1 process": partial(ours_files, root, names, n, 1),
            f"ours, {args.workers} processes": partial(ours_files, root, names, n, args.workers),
        },
        "HOTA, CLEAR, Identity, in memory": {
            "ours": partial(tracking, both, n),
            "ours, with sMOTSA": partial(tracking_after_mots, both, n),
        },
    }
    rows: list[dict] = []
    for group, forms in groups.items():
        timings = time_forms(forms, args.repeat, args.seconds)
        rows += rows_of(group, timings, n * (len(names) if "files" in group else 1))
    return {
        "benchmark": "mots",
        "frames": n,
        "tracks": args.tracks,
        "size": list(SIZE),
        "sequences": args.sequences,
        "repeat": args.repeat,
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pycocotools": getattr(pycocotools, "__version__", ""),
        "needed_ratio": NEEDED_RATIO,
        "rows": rows,
    }


def print_table(record: dict) -> None:
    """Prints the record for people."""
    print(f"MOTS, {record['frames']} frames, {record['tracks']} tracks, best runs")
    print(f"{'what':<34}{'form':<22}{'wall s':>8}{'CPU s':>8}{'ms/frame':>10}", end="")
    print(f"{'wall ratio':>12}{'CPU ratio':>11}{'max error':>11}")
    for row in record["rows"]:
        print(
            f"{row['group']:<34}{row['form']:<22}{row['wall_s']:>8.3f}{row['cpu_s']:>8.2f}"
            f"{row['ms_per_frame']:>10.2f}{row['wall_ratio']:>12.1f}{row['cpu_ratio']:>11.1f}"
            f"{row['max_error']:>11.1e}"
        )


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--tracks", type=int, default=12)
    parser.add_argument("--sequences", type=int, default=2, help="sequences, two or more")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5, help="fewest runs of each form")
    parser.add_argument("--seconds", type=float, default=5, help="time for each group, at least")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    return parser.parse_args()


def main() -> int:
    """Runs the benchmark; status 1 when the forms disagree."""
    args = parse_args()
    if args.sequences < 2:
        raise SystemExit("error: two or more sequences are needed")
    with tempfile.TemporaryDirectory() as folder:
        record = measure(args, Path(folder))
    print_table(record)
    write_json(args.out, record)
    print(f"written: {args.out}")
    agree = all(row["max_error"] <= TOLERANCE for row in record["rows"])
    if not agree:
        print(f"the forms differ by more than {TOLERANCE}", file=sys.stderr)
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
