"""Time and memory of the commands on annotations of the size of YouTube-VIS and OVIS.

    python benchmarks/bench_large_json.py [--megabytes 200] [--folder DIR]

Writes ground truth of about that size, run lengths as lists as the published files have them, and
results with compressed strings. Every command is a process of its own; its peak memory is that of
the whole process, interpreter and libraries included. What is streamed must stay below 200 MB, the
evaluation, which needs many tracks at once, below 2 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from vidseg_common.files import write_json
from vidseg_common.rle import counts_to_string

DEFAULT_OUT = Path(__file__).resolve().parent / "results" / "large_json.json"
HEIGHT, WIDTH, FRAMES, CATEGORIES = 720, 1280, 28, 40
LEVELS = ("no_occlusion", "slight_occlusion", "severe_occlusion")
STREAMED_MB, SCORED_MB = 200.0, 2000.0


def shape_runs(rng: np.random.Generator) -> list[int]:
    """Run lengths of a blob of about 100 columns."""
    width = int(rng.integers(40, 180))
    left, middle = int(rng.integers(0, WIDTH - width)), int(rng.integers(160, HEIGHT - 160))
    angle = np.linspace(0, np.pi, width + 2)[1:-1]
    half = np.maximum(1, np.sin(angle) * rng.uniform(20, 140) + rng.uniform(-5, 5, width))
    starts = (np.arange(left, left + width) * HEIGHT + middle - half).astype(int)
    stops = starts + np.maximum(1, 2 * half).astype(int)
    edges = np.stack([starts, stops], axis=1).ravel()
    return [int(v) for v in np.diff(np.concatenate([[0], edges, [HEIGHT * WIDTH]]))]


def write_pair(folder: Path, megabytes: float, seed: int = 0) -> tuple[Path, Path, int]:
    """Writes ground truth of a size and perfect results.

    Returns:
        Both files and the number of tracks.
    """
    rng = np.random.default_rng(seed)
    truth, results = folder / "truth.json", folder / "results.json"
    number = 0
    with truth.open("w") as gt, results.open("w") as found:
        categories = [{"id": i, "name": f"class {i}"} for i in range(1, CATEGORIES + 1)]
        gt.write(f'{{"categories": {json.dumps(categories)}, "annotations": [')
        found.write("[")
        while gt.tell() < megabytes * 1e6:
            number += 1
            runs = [shape_runs(rng) for _ in range(FRAMES)]
            entry = {
                "video_id": 1 + number // 3,
                "category_id": int(rng.integers(1, CATEGORIES + 1)),
                "score": round(float(rng.random()), 3),
            }
            masks = [{"size": [HEIGHT, WIDTH], "counts": r} for r in runs]
            areas, boxes = [sum(r[1::2]) for r in runs], [[1.0, 1.0, 9.0, 9.0]] * FRAMES
            more = {"id": number, "iscrowd": 0, "areas": areas, "bboxes": boxes}
            more |= {"occlusion": [LEVELS[t % 3] for t in range(FRAMES)], "segmentations": masks}
            gt.write((", " if number > 1 else "") + json.dumps(entry | more))
            small = [{**m, "counts": counts_to_string(m["counts"])} for m in masks]
            found.write((", " if number > 1 else "") + json.dumps(entry | {"segmentations": small}))
        videos = [
            {
                "id": i,
                "width": WIDTH,
                "height": HEIGHT,
                "length": FRAMES,
                "file_names": [f"{i:06d}/{5 * t:05d}.jpg" for t in range(FRAMES)],
            }
            for i in range(1, 2 + number // 3)
        ]
        gt.write(f'], "videos": {json.dumps(videos)}}}')
        found.write("]")
    return truth, results, number


def measure(words: list[str]) -> dict[str, float]:
    """Runs a command of `vidseg`; wall and processor seconds and peak memory."""
    begin = time.perf_counter()
    code = "import sys; from vidseg_common.cli import main; sys.exit(main())"
    line = [sys.executable, "-c", code, *words]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"failed: vidseg {' '.join(words)}")
    unit = 1 if platform.system() == "Darwin" else 1024
    return {
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss * unit / 1e6,
    }


def commands(folder: Path, truth: Path, results: Path) -> dict[str, list[str]]:
    """What is measured."""
    gt, found = str(truth), str(results)
    convert = ["convert", gt, "--from", "ovis", "--to", "stemseg-video", "-o"]
    pair = ["--metric", "ovis", "--gt", gt, "--pred", found]
    return {
        "info": ["info", gt, "--format", "ovis"],
        "validate": ["validate", gt, "--format", "ovis"],
        "convert": [*convert, str(folder / "stemseg.json"), "--quiet"],
        "validate results": ["validate", found, "--format", "ovis-results", "--gt", gt],
        "evaluate": ["evaluate", *pair, "-o", str(folder / "report"), "--quiet"],
    }


def main() -> int:
    """Measures, prints a table and writes the numbers.

    Returns:
        0, or 1 when a command needs more memory than it may.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, default=200, help="size of the annotations")
    parser.add_argument("--folder", type=Path, help="where the files are written (a temporary one)")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="JSON of the numbers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        truth, results, number = write_pair(folder, options.megabytes)
        sizes = [path.stat().st_size / 1e6 for path in (truth, results)]
        print(f"{number} tracks, {sizes[0]:.0f} MB of annotations, {sizes[1]:.0f} MB of results")
        rows = {}
        for title, words in commands(folder, truth, results).items():
            rows[title] = measure(words)
            seconds, cpu, peak = rows[title].values()
            print(
                f"{title:18}{seconds:8.1f} s wall{cpu:8.1f} s cpu{peak:8.0f} MB at most", flush=True
            )
    write_json(options.out, {"megabytes": sizes, "tracks": number, "commands": rows})
    limits = {title: SCORED_MB if title == "evaluate" else STREAMED_MB for title in rows}
    return int(any(row["peak_mb"] > limits[title] for title, row in rows.items()))


if __name__ == "__main__":
    sys.exit(main())
