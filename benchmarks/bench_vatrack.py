"""Speed of VATrack's inference by stages: `make bench-vatrack [ARGS=...]`.

Sections: paste (amodal and visible masks of a frame, against a whole picture for each), tracker
(200 tracks and 100 detections), frames (whole frames of a synthetic video by the plain path and
by ours, how far results agree, and the same in bfloat16), memory (a long video) and precision
(vAP of a trained small network by number format). Weights of all but the last are those of the
recorded cases: they have the shapes of the released models but are not trained. With the published
thresholds they give 100 detections in every frame, as released models nearly always do. Plain path
and ours take turns and the fastest frame of each counts, so that other work on the machine falls on
both.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sections import Row, Section, add_section_flags, resident_mb, run_sections
from timings import time_forms
from torchvision.ops import box_iou
from vatrack_plain import PlainPredictor, plain_paste

from vatrack.checkpoint import load_network
from vatrack.commands import test as eval_command
from vatrack.config import DATA_VARIABLE
from vatrack.inference import FrameResult, InferenceSettings, Predictor, Tracker
from vatrack.inference.paste import paste
from vatrack.model import VATrackNet
from vatrack.parity import RECORDS
from vatrack.parity_kit import Kit
from vatrack.saved import LATEST
from vidseg_common import rle
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import run_cli
from vidseg_common.synthetic import generate_video

RESULTS = Path(__file__).parent / "results" / "vatrack.json"
VARIANTS = ("qdtrack_r50", "vatrack_r50", "vatrack2bbox_r50")


def load(variant: str) -> VATrackNet:
    """A network of the shapes of a released model, with the weights of the recorded cases."""
    with tempfile.TemporaryDirectory(prefix="vatrack-bench-") as scratch:
        return load_network(Kit(RECORDS, Path(scratch)).released_file(variant)).eval()


def random_boxes(rng: np.random.Generator, count: int, size_hw: tuple[int, int]) -> NDArray[Any]:
    """Boxes (n, 5) with scores, of sides from a fiftieth to a half of the frame's."""
    height, width = size_hw
    sides = np.exp(rng.uniform(np.log(0.02), np.log(0.5), (count, 2))) * [width, height]
    corners = rng.uniform(0, 1, (count, 2)) * ([width, height] - sides)
    scores = rng.uniform(0.05, 1, (count, 1))
    return np.concatenate([corners, corners + sides, scores], 1).astype(np.float32)


def bench_paste(args: argparse.Namespace) -> list[Row]:
    """100 amodal and 100 visible masks to run lengths."""
    rng = np.random.default_rng(0)
    size = tuple(args.size)
    boxes = random_boxes(rng, 200, size)
    logits = torch.from_numpy(rng.normal(0, 1, (200, 1, 7, 7)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(logits, size=(28, 28), mode="bicubic")[:, 0]
    prob = (4 * smooth).sigmoid()

    def plain() -> list[Any]:
        return [rle.encode(mask) for mask in plain_paste(prob, torch.from_numpy(boxes), size)]

    forms = {"plain": plain, "ours": lambda: paste(prob.numpy(), boxes, size)}
    timings = time_forms(forms, args.repeat)
    pictures = [[rle.decode(mask) for mask in timings[name].results[0]] for name in forms]
    differing = max(int((a != b).sum()) for a, b in zip(*pictures, strict=True))
    seconds = {name: min(timing.wall) for name, timing in timings.items()}
    ratio = seconds["plain"] / seconds["ours"]
    return [{"what": "200 masks", **seconds, "ratio": ratio, "most_differing_pixels": differing}]


def bench_tracker(args: argparse.Namespace) -> list[Row]:
    """One frame of 100 detections with 200 tracks in the memory."""
    rng = np.random.default_rng(0)
    settings = InferenceSettings().tracker
    tracker = Tracker(settings)
    seconds = []
    for _ in range(20 * args.repeat):
        tracker.reset()
        for t in range(3):
            # Boxes apart, so that none is a duplicate, and other labels in the second frame, so
            # that it continues nothing; the last frame continues half the tracks of the first.
            left = np.arange(100, dtype=np.float32) * 12
            boxes = np.stack([left, left, left + 10, left + 10, left * 0 + 0.9], 1)
            labels = np.arange(100) % 12 + 12 * (t == 1)
            embeds = rng.normal(0, 1, (100, 256)).astype(np.float32)
            if t == 2:
                assert tracker.state.tracks is not None
                embeds[:50] = tracker.state.tracks.embeds[:50]
                remembered = len(tracker.state.tracks.ids)
                started = time.perf_counter()
            tracker.match(boxes, labels, embeds, t)
        seconds.append(time.perf_counter() - started)
    return [
        {
            "what": f"{remembered} tracks, 100 detections",
            "median": float(np.median(seconds)),
            "fastest": min(seconds),
        }
    ]


class Run:
    """One way to run a video: seconds of the fastest frame, its stages, and the results.

    Args:
        make: the predictor with a timer.
    """

    def __init__(self, make: Callable[[Any], Predictor | PlainPredictor]) -> None:
        self.now: dict[str, float] = {}
        self.predictor = make(self.timer)
        self.results: list[FrameResult] = []
        self.stages: dict[str, float] = {}
        self.seconds = self.cpu_seconds = float("inf")

    @contextlib.contextmanager
    def timer(self, name: str) -> Iterator[None]:
        """Adds the time of a stage to the frame at hand."""
        started = time.perf_counter()
        yield
        self.now[name] = self.now.get(name, 0.0) + time.perf_counter() - started

    def step(self, frame: NDArray[np.uint8], *, counts: bool) -> None:
        """Advances one frame."""
        self.now.clear()
        started, cpu = time.perf_counter(), time.process_time()
        self.results.append(self.predictor.step(frame))
        seconds, used = time.perf_counter() - started, time.process_time() - cpu
        if counts and seconds < self.seconds:
            self.seconds, self.stages = seconds, dict(self.now)
        self.cpu_seconds = min(self.cpu_seconds, used)


def bench_frames(args: argparse.Namespace) -> list[Row]:
    """Whole frames: preparation to run lengths."""
    height, width = args.size
    frames = list(generate_video(1, args.frames, height, width, 5).frames)
    settings = InferenceSettings(img_scale=(width, height))
    rows = []
    for variant in args.variants:
        network = load(variant)
        formats = {"fp32": torch.float32, "bf16": torch.bfloat16}
        runs = {"plain": Run(lambda timer, n=network: PlainPredictor(n, settings, timer=timer))}
        for name, dtype in formats.items():
            runs[name] = Run(
                lambda timer, n=network, d=dtype: Predictor(n, settings, dtype=d, timer=timer)
            )
        for t, frame in enumerate(frames):
            for run in runs.values():
                run.step(frame, counts=t > 0)
        for name, run in runs.items():
            row = {
                "variant": variant,
                "size": f"{height}x{width}",
                "engine": name,
                "seconds": run.seconds,
                "ratio": runs["plain"].seconds / run.seconds,
                "cpu_seconds": run.cpu_seconds,
                "cpu_ratio": runs["plain"].cpu_seconds / run.cpu_seconds,
                "tracks": float(np.mean([len(result) for result in run.results])),
                **agreement(run.results, runs["plain"].results),
                "stages": run.stages,
            }
            rows.append(row)
    return rows


def agreement(results: list[FrameResult], others: list[FrameResult]) -> Row:
    """How far two runs show the same: in every frame tracks of one label are paired by their boxes.

    Ids are compared apart: where weights are not trained, one other choice moves all later ids.
    """
    total = found = same_ids = both = either = 0
    shift = 0.0
    for a, b in zip(results, others, strict=True):
        total += max(len(a), len(b))
        overlap = box_iou(torch.from_numpy(a.boxes[:, :4]), torch.from_numpy(b.boxes[:, :4]))
        overlap = overlap.numpy() * (a.labels[:, None] == b.labels)
        for i, j in enumerate(overlap.argmax(1)):
            if overlap[i, j] < 0.9:
                continue
            found, same_ids = found + 1, same_ids + int(a.ids[i] == b.ids[j])
            shift = max(shift, float(np.abs(a.boxes[i, :4] - b.boxes[j, :4]).max()))
            for kind in ("visible_masks", "amodal_masks"):
                if getattr(a, kind) is not None:
                    pair = [getattr(a, kind)[i], getattr(b, kind)[j]]
                    hit = rle.area(rle.merge(pair, intersect=True))
                    both, either = both + hit, either + sum(map(rle.area, pair)) - hit
    return {
        "same_boxes": found / total if total else 1.0,
        "same_ids": same_ids / total if total else 1.0,
        "largest_box_shift": shift,
        "mask_iou": both / either if either else 1.0,
    }


def bench_memory(args: argparse.Namespace) -> list[Row]:
    """Resident memory over a long video of small frames."""
    settings = InferenceSettings(img_scale=(160, 96), nms_pre=100, max_num=100, max_per_img=10)
    predictor = Predictor(load("vatrack2bbox_r50"), settings)
    clip = list(generate_video(1, 50, 96, 160, 5).frames)
    resident, tracks = [], 0
    for t in range(args.long):
        tracks += len(predictor.step(clip[t % len(clip)]))
        resident.append(resident_mb())
    warm = args.long // 5
    slope = np.polyfit(np.arange(warm, args.long), resident[warm:], 1)[0]
    return [
        {
            "frames": args.long,
            "tracks_per_frame": tracks / args.long,
            "numbers_given": predictor.tracker.state.num_tracklets,
            "rss_warm_mb": resident[warm],
            "rss_end_mb": resident[-1],
            "slope_mb_per_100_frames": 100 * float(slope),
        }
    ]


def bench_precision(args: argparse.Namespace) -> list[Row]:
    """Scores of the clips of `overfit_vatrack.py`, which a small network has learnt, by format."""
    if args.overfit is None:
        print("  needs --overfit, a folder that overfit_vatrack.py --folder kept")
        return []
    folder = args.overfit.resolve()
    os.environ[DATA_VARIABLE] = str(folder)
    rows = []
    for name in ("fp32", "bf16"):
        out = folder / f"results_{name}.pkl"
        flags = ["--config", "overfit", "--checkpoint", str(folder / "weights" / LATEST)]
        flags += ["--out", str(out), "--eval", "segm", "--device", "cpu", "--workers", "1"]
        eval_command.main([*flags, "--precision", name])
        file = out.with_name(f"{out.stem}_metrics.json")
        numbers = json.loads(file.read_text(encoding="utf-8"))["numbers"]
        scores = {
            f"{masks}_v{score}": numbers[f"video_{masks}_segm_{score}"]
            for masks in ("amodal", "visible")
            for score in ("AP", "AP50")
        }
        rows.append({"format": name, **scores})
    return rows


SECTIONS: dict[str, Section] = {
    "paste": bench_paste,
    "tracker": bench_tracker,
    "frames": bench_frames,
    "memory": bench_memory,
    "precision": bench_precision,
}


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    argv = sys.argv[1:] if argv is None else argv
    parser = ArgumentParser("bench_vatrack.py", description=__doc__)
    add = parser.add_argument
    add("--size", type=int, nargs=2, default=[720, 1280], help="height and width of frames")
    add("--frames", type=int, default=4, help="frames of the video, one of which only warms up")
    add("--long", type=int, default=1000, help="frames of the section on memory")
    add("--variants", nargs="+", default=list(VARIANTS), help="models of the section on frames")
    add("--overfit", type=Path, help="trained small network, for the section on precision")
    add_section_flags(parser, SECTIONS, RESULTS)
    args = parser.parse_args(argv)
    return run_sections(__file__, argv, args, SECTIONS)


if __name__ == "__main__":
    run_cli(main)
