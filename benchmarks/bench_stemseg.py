"""Speed and memory of STEm-Seg's inference: `make bench-stemseg [DAVIS=folder]`.

Sections: clustering (alone, against the loop over instances), stages (each part of one clip),
video, video_full and video_davis (whole inference against the plain path), memory (a long video),
gpu. The fastest of several
runs counts; the plain path runs first, since ours changes how the process keeps its memory. Every
section is one process with two threads, in float32 unless a row says otherwise.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stemseg_plain import PlainPath, PlainResult, plain_cluster

from stemseg.checkpoint import load_network
from stemseg.config import load_config
from stemseg.inference.cluster import ClusterRule, cluster
from stemseg.inference.engine import Engine, VideoTracks
from stemseg.inference.networks import ClipNetwork, Precision, deploy
from stemseg.inference.settings import Choices, engine_settings, max_tracks_of
from stemseg.model.network import STEmSeg
from stemseg.outputs.davis import masks_of_frame
from stemseg.parity import RECORDS
from stemseg.parity_kit import Kit
from vidseg_common.allocator import keep_freed_memory
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import run_cli
from vidseg_common.files import write_json
from vidseg_common.synthetic import generate_video
from vidseg_common.video import list_images, read_image

HEIGHT, WIDTH = 480, 854
RESULTS = Path(__file__).parent / "results" / "stemseg.json"
#: Published model to its configuration.
MODELS = {"youtube_vis": "youtube_vis", "davis": "davis_2", "kitti_mots": "kitti_mots_2"}
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
Row = dict[str, Any]


def best_of(function: Callable[[], object], repeat: int) -> float:
    """Seconds of the fastest of several calls."""
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def read_frames(args: argparse.Namespace, count: int) -> tuple[str, list[np.ndarray]]:
    """Name and RGB frames of a real or synthetic video."""
    if args.davis is None:
        return "synthetic", list(generate_video(1, count, HEIGHT, WIDTH, 3).frames)
    paths = list_images(args.davis / "JPEGImages" / "480p" / args.sequence)[:count]
    return args.sequence, [read_image(path) for path in paths]


def load(model: str, device: str = "cpu") -> STEmSeg:
    """A published structure with the recorded kit's deterministic weights."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Kit(RECORDS, Path(scratch)).weights(f"manifest_{model}.json")
        return load_network(path, load_config(MODELS[model]), device=device)


@dataclass(frozen=True)
class Points:
    """What the clusterer gets of a clip, point arrays (dimension, P)."""

    embeddings: torch.Tensor
    bandwidths: torch.Tensor
    seediness: torch.Tensor


def clip_points(frames: int, height: int, width: int, instances: int) -> Points:
    """Points of round instances on a grid, as a trained network would place them, 2 free dims."""
    gen = torch.Generator().manual_seed(instances)
    centres = torch.rand(instances, 2, generator=gen) * 2 - 1
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"
    )
    distance = (y[..., None] - centres[:, 0]) ** 2 + (x[..., None] - centres[:, 1]) ** 2  # H, W, K
    nearest, owner = distance.repeat(frames, 1, 1, 1).flatten(0, 2).min(1)  # P
    targets = torch.cat([centres, torch.rand(instances, 2, generator=gen) * 2 - 1], 1)  # K, 4
    # Points near the centre of an instance are sure, those between instances are not.
    spread = 0.02 + 0.4 * nearest.sqrt()
    noise = torch.randn(len(owner), 4, generator=gen) * spread[:, None]
    embeddings = (targets[owner] + noise).T.contiguous()  # 4, P
    bandwidths = 20 * (1 + 0.2 * torch.rand(2, len(owner), generator=gen))
    seediness = (-4 * spread + 0.1 * torch.rand(len(owner), generator=gen)).exp()
    return Points(embeddings, bandwidths, seediness)


def bench_clustering(args: argparse.Namespace) -> list[Row]:
    """Eight frames at 480p, at stride 4 and at full size."""
    rule = ClusterRule(free_dim_stds=(0.3, 0.3))
    cases = [(stride, num) for stride in (4, 1) for num in (5, 18)]
    plain = []
    for stride, num in cases:
        points = clip_points(8, HEIGHT // stride, WIDTH // stride, num)
        by_point = (points.embeddings.T.contiguous(), points.bandwidths.T.contiguous())
        arguments = (*by_point, points.seediness, rule, 1)
        want = plain_cluster(*arguments)
        plain.append((best_of(lambda a=arguments: plain_cluster(*a), args.repeat), want))
    keep_freed_memory()
    rows = []
    for (stride, num), (seconds, want) in zip(cases, plain, strict=True):
        points = clip_points(8, HEIGHT // stride, WIDTH // stride, num)
        arguments = (points.embeddings, points.bandwidths, points.seediness, rule)
        got = cluster(*arguments)
        ours = best_of(lambda a=arguments: cluster(*a), args.repeat)
        rows.append(
            {
                "stride": stride,
                "points": len(want),
                "instances": len(got.instance_labels),
                "in_instances": float((want > 0).float().mean()),
                "plain_s": seconds,
                "ours_s": ours,
                "ratio": seconds / ours,
                "equal": float((got.labels == want).float().mean()),
            }
        )
    return rows


@dataclass(frozen=True)
class Case:
    """One way to run a video: model, clustering scale."""

    model: str
    full_scale: bool

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.model}{', --resize_embeddings' if self.full_scale else ''}"


CASES = (Case("youtube_vis", False), Case("youtube_vis", True), Case("davis", False))


class Runs:
    """Plain path and engine over the same frames."""

    def __init__(self, case: Case, min_dim: int | None, device: str = "cpu") -> None:
        self.case = case
        self.network = load(case.model, device)
        choices = Choices(min_dim=min_dim, resize_embeddings=case.full_scale)
        self.settings = engine_settings(self.network.cfg, choices)
        self.max_tracks = max_tracks_of(self.network.cfg, choices)
        self.device = device

    def plain(self, frames: Sequence[np.ndarray]) -> PlainResult:
        """The baseline."""
        return PlainPath(self.network, self.settings, self.max_tracks).run(frames)

    def engine(self, dtype: Precision = "fp32") -> Engine:
        """Ours."""
        network = deploy(self.network, dtype)
        return Engine(network, self.settings, device=self.device, clustering_device=self.device)

    def finish(self, tracks: VideoTracks) -> tuple[list[dict[int, np.ndarray]], dict[int, int]]:
        """Masks of kept instances in every frame, and their classes, by label."""
        statistics = tracks.statistics
        kept = statistics.by_lifetime(self.max_tracks)
        masks = [
            {kept[rank - 1]: x for rank, x in masks_of_frame(tracks, kept, t).items()}
            for t in range(tracks.num_frames)
        ]
        classes = tracks.classes
        if classes is None:
            return masks, {}
        pixels = {label: statistics.of_label[label].num_pixels for label in kept}
        return masks, {label: classes.category_of(label, n) for label, n in pixels.items()}


class Outcome:
    """The last result of a whole run, for comparison."""

    def __init__(self) -> None:
        self.labels: list[np.ndarray] = []
        self.masks: list[dict[int, np.ndarray]] = []
        self.categories: dict[int, int] = {}
        self.seconds: dict[str, float] = {}

    def take(self, plain: PlainResult) -> None:
        """Keeps what the plain path gave."""
        self.labels, self.masks = plain.labels, plain.masks
        self.categories, self.seconds = plain.categories, dict(plain.seconds)

    def run(self, runs: Runs, engine: Engine, frames: Sequence[np.ndarray]) -> None:
        """Runs the engine to the masks, keeps what it gave."""
        tracks = engine.run(frames)
        started = time.perf_counter()
        self.masks, self.categories = runs.finish(tracks)
        self.seconds = {
            "model": tracks.times.model,
            "clustering": tracks.times.clustering,
            "output": time.perf_counter() - started,
        }
        self.labels = [tracks.labels[t] for t in range(tracks.num_frames)]

    def agreement(self, other: Outcome) -> Row:
        """Shares of equal pixels of label maps and masks, and whether classes are the same."""
        pairs = list(zip(self.labels, other.labels, strict=True))
        masks = list(zip(self.masks, other.masks, strict=True))
        return {
            "equal": float(np.mean([(a == b).mean() for a, b in pairs])),
            "equal_mask_pixels": float(np.mean([mask_agreement(a, b) for a, b in masks])),
            "same_classes": self.categories == other.categories,
            "objects": len(self.categories) or len({i for frame in self.masks for i in frame}),
        }


def mask_agreement(a: dict[int, np.ndarray], b: dict[int, np.ndarray]) -> float:
    """Intersection of all masks of a frame over their union."""
    both = sum(int((a[i] & b[i]).sum()) for i in a.keys() & b.keys())
    either = sum(int(x.sum()) for masks in (a, b) for x in masks.values()) - both
    return both / either if either else 1.0


def compare(
    runs: Runs, frames: Sequence[np.ndarray], dtypes: Sequence[Precision], repeat: int
) -> list[Row]:
    """Time of whole videos by the plain path and by ours, and how far the results agree."""
    outcomes = {name: Outcome() for name in ("plain", *dtypes)}
    plain = outcomes["plain"]
    seconds = {"plain": best_of(lambda: plain.take(runs.plain(frames)), repeat)}
    for name in dtypes:
        engine = runs.engine(name)
        engine.run(frames[:1])  # packs the weights
        call = functools.partial(outcomes[name].run, runs, engine, frames)
        seconds[name] = best_of(call, repeat)
    rows = [
        {
            "case": runs.case.title,
            "engine": "plain fp32" if name == "plain" else f"ours {name}",
            "frames": len(frames),
            "seconds": seconds[name],
            "ratio": seconds["plain"] / seconds[name],
            **outcome.agreement(outcomes["plain"]),
            "stages": outcome.seconds,
        }
        for name, outcome in outcomes.items()
    ]
    for row in rows:
        show_row(row)
    return rows


def bench_video(args: argparse.Namespace, case: Case) -> list[Row]:
    """Whole videos: label maps, classes and masks of all frames."""
    _, frames = read_frames(args, args.frames)
    return compare(Runs(case, args.min_dim), frames, PRECISIONS, args.repeat)


def bench_video_published(args: argparse.Namespace) -> list[Row]:
    """Whole videos at the size of the published results, whatever the size of other sections."""
    rows = bench_video(argparse.Namespace(**vars(args) | {"min_dim": None}), CASES[0])
    return [row | {"case": f"{row['case']}, published size"} for row in rows]


def bench_stages(args: argparse.Namespace) -> list[Row]:
    """Parts of a clip: features, decoders, clustering, output."""
    _, frames = read_frames(args, 12)
    runs = Runs(CASES[0], args.min_dim)
    plain = [runs.plain(frames[: runs.settings.clip_length]).seconds for _ in range(args.repeat)]
    rows: list[Row] = [{"engine": "plain fp32"} | {k: min(x[k] for x in plain) for k in plain[0]}]
    ours = ((dtype, stages_of_ours(runs, dtype, frames)) for dtype in PRECISIONS)
    return rows + [{"engine": f"ours {dtype}", **seconds} for dtype, seconds in ours]


def stages_of_ours(runs: Runs, dtype: Precision, frames: Sequence[np.ndarray]) -> dict[str, float]:
    """Seconds of the parts of our path for a clip, and of the decoders of a clip that follows."""
    length, step = runs.settings.clip_length, runs.settings.clip_length - runs.settings.overlap
    engine, times = runs.engine(dtype), _Times()
    engine.network = _TimedNetwork(engine.network, times)
    best: dict[str, float] = {}
    for _ in range(3):
        times.clear()
        outcome = Outcome()
        outcome.run(runs, engine, frames[: length + step])
        parts = {
            "backbone": times.encode * length / (length + step),
            "decoders": times.decode[0],
            "decoders, following clip": times.decode[1],
            "clustering": outcome.seconds["clustering"] / 2,
            "output": outcome.seconds["output"] * length / (length + step),
        }
        best = {name: min(value, best.get(name, value)) for name, value in parts.items()}
    return best


class _Times:
    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.encode, self.decode = 0.0, list[float]()


class _TimedNetwork:
    """Times the two halves of a network."""

    def __init__(self, network: ClipNetwork, times: _Times) -> None:
        self.network, self.times = network, times

    def encode_frames(self, images: torch.Tensor) -> list[Any]:
        """See `ClipNetwork`."""
        started = time.perf_counter()
        result = self.network.encode_frames(images)
        self.times.encode += time.perf_counter() - started
        return result

    def decode_clips(self, clips: Sequence[Sequence[Any]]) -> Any:
        """See `ClipNetwork`."""
        started = time.perf_counter()
        result = self.network.decode_clips(clips)
        self.times.decode.append(time.perf_counter() - started)
        return result


def bench_memory(args: argparse.Namespace) -> list[Row]:
    """Resident memory of a long small video."""
    runs = Runs(CASES[0], 96)
    engine = runs.engine()
    video = generate_video(3, 40, 96, 160, 2)
    samples: list[tuple[int, float]] = []

    def frames() -> Iterator[np.ndarray]:
        for t in range(args.memory_frames):
            if t % 10 == 0:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                samples.append((t, pages * resource.getpagesize() / 2**20))
            yield video.frames[abs(t % 78 - 39)]

    tracks = engine.run(frames())
    points = np.array(samples)
    warm = points[points[:, 0] >= args.memory_frames // 5]
    slope = float(np.polyfit(warm[:, 0], warm[:, 1], 1)[0]) * 100
    return [
        {
            "frames": tracks.num_frames,
            "rss_warm_mb": float(warm[0, 1]),
            "rss_end_mb": float(points[-1, 1]),
            "slope_mb_per_100_frames": slope,
        }
    ]


def bench_gpu(args: argparse.Namespace) -> list[Row]:
    """Whole videos on a GPU at the published input size, where there is one."""
    if not torch.cuda.is_available():
        return []
    _, frames = read_frames(args, args.frames)
    found = [compare(Runs(c, None, "cuda"), frames, ("fp32", "bf16", "fp16"), 3) for c in CASES]
    return [row for rows in found for row in rows]


def show_row(row: Row) -> None:
    """Prints a row."""
    cells = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
    print("  " + "  ".join(cells), flush=True)


SECTIONS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "clustering": bench_clustering,
    "stages": bench_stages,
    "video": lambda args: bench_video(args, CASES[0]),
    "video_full": lambda args: bench_video(args, CASES[1]),
    "video_davis": lambda args: bench_video(args, CASES[2]),
    "video_published": bench_video_published,
    "memory": bench_memory,
    "gpu": bench_gpu,
}


def run_section(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Runs one section in this process; its rows and the peak memory."""
    torch.set_num_threads(args.threads)
    rows = SECTIONS[name](args)
    print(f"\n{name}")
    for row in rows:
        show_row(row)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak RSS {peak:.0f} MB")
    return {"rows": rows, "peak_rss_mb": peak}


def run_alone(argv: Sequence[str], name: str) -> dict[str, Any]:
    """Runs one section in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "section.json"
        command = [sys.executable, __file__, *argv, "--section", name, str(out)]
        subprocess.run(command, check=True)
        return json.loads(out.read_text())


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = ArgumentParser("bench_stemseg.py", description=__doc__)
    add = parser.add_argument
    add("--davis", type=Path, help="DAVIS folder (JPEGImages/480p)")
    add("--sequence", default="blackswan", help="sequence of the DAVIS folder")
    add("--frames", type=int, default=24, help="frames of the whole-video section")
    add("--min-dim", type=int, default=320, help="shorter side of the network's input")
    add("--memory-frames", type=int, default=500, help="frames of the section on memory")
    add("--repeat", type=int, default=2, help="runs of which the fastest counts")
    add("--threads", type=int, default=2, help="threads of PyTorch")
    add("--only", nargs="+", choices=list(SECTIONS), help="sections to run; the rest is kept")
    add("--out", type=Path, default=RESULTS, help="recorded results")
    add("--section", nargs=2, metavar=("NAME", "FILE"), help="internal: one section, rows to FILE")
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    if args.section:
        write_json(Path(args.section[1]), run_section(args, args.section[0]))
        return 0
    known = args.out.is_file() and args.only
    result: dict[str, Any] = json.loads(args.out.read_text()) if known else {}
    result |= {
        "machine": f"{platform.processor() or platform.machine()}, {args.threads} threads",
        "torch": torch.__version__,
        "clip": args.sequence if args.davis else "synthetic",
        "min_dim": args.min_dim,
    }
    for name in args.only or SECTIONS:
        section = run_alone(argv, name)
        result[name] = section["rows"]
        result.setdefault("peak_rss_mb", {})[name] = section["peak_rss_mb"]
        # After every section: a long run that is stopped keeps what it has measured.
        write_json(args.out, result)
    print(f"\nwritten to {args.out}")
    return 0


if __name__ == "__main__":
    run_cli(main)
