"""Speed and memory of STCN's inference: `make bench-stcn [DAVIS=folder]`.

Sections: read (memory read alone), video (whole engine against the plain form), steady (from 20
memory frames on), objects, stages, limit (the convolutions alone), rss (a long video), gpu. Times
are the best of several runs; every section is one process with two threads, in float32 unless a
row says otherwise.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stcn_plain import PlainEngine, dense_topk_read

from stcn.checkpoint import load_network
from stcn.inference.engine import MemoryPolicy, PropagationEngine
from stcn.inference.memory import MemoryBank
from stcn.inference.preprocess import normalise, one_hot
from stcn.model.deployed import DeployedSTCN
from stcn.model.network import STCN
from stcn.parity import RECORDS, Kit
from vidseg_common.allocator import keep_freed_memory
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import run_cli
from vidseg_common.files import write_json
from vidseg_common.masks import read_indices
from vidseg_common.synthetic import generate_video
from vidseg_common.video import list_images, read_image

HEIGHT, WIDTH = 480, 854
GRID = (30, 54)
RESULTS = Path(__file__).parent / "results" / "stcn.json"
Row = dict[str, Any]


def best_of(function: Callable[[], object], repeat: int = 3) -> float:
    """Seconds of the fastest of several calls, after one to warm up."""
    function()
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


class Frames:
    """Normalised 480p frames and first masks of a real or synthetic video."""

    def __init__(self, davis: Path | None, sequence: str, count: int) -> None:
        if davis is not None:
            paths = list_images(davis / "JPEGImages" / "480p" / sequence)[:count]
            images = [read_image(path) for path in paths]
            first = davis / "Annotations" / "480p" / sequence / f"{paths[0].stem}.png"
            mask = (read_indices(first) > 0).astype(np.uint8)
            self.name = sequence
        else:
            video = generate_video(1, count, HEIGHT, WIDTH, 2)
            images, mask = list(video.frames), video.visible[0]
            self.name = "synthetic"
        self.tensors = [normalise(image) for image in images]
        self.masks = {1: one_hot((mask > 0).astype(np.uint8), [1], "cpu")}
        for k in (2, 10):
            self.masks[k] = _stripes(mask > 0, k)


def _stripes(mask: np.ndarray, count: int) -> torch.Tensor:
    """The object cut into `count` vertical parts, (count, H, W)."""
    columns = np.flatnonzero(mask.any(0))
    edges = np.linspace(columns[0], columns[-1] + 1, count + 1).astype(int)
    parts = np.zeros((count, *mask.shape), dtype=np.float32)
    for k in range(count):
        parts[k, :, edges[k] : edges[k + 1]] = mask[:, edges[k] : edges[k + 1]]
    return torch.from_numpy(parts)


def bench_read() -> list[Row]:
    """Memory read alone, dense and ours."""
    cases = [(k, n) for k in (1, 2) for n in (1, 5, 10, 20)]
    # The plain form first: ours changes how the process keeps its memory.
    plain = []
    for num_objects, num_frames in cases:
        keys, values, query = read_inputs(num_objects, num_frames)
        dense_key = keys[:, 0].permute(1, 0, 2, 3).reshape(1, 64, -1)
        dense_value = values.permute(1, 2, 0, 3, 4).reshape(num_objects, 512, -1)
        with torch.inference_mode():
            arguments = dense_key, dense_value, query, 20
            seconds = best_of(lambda a=arguments: dense_topk_read(*a))
            plain.append((seconds, dense_topk_read(*arguments)))
    keep_freed_memory()
    rows = []
    for (num_objects, num_frames), (seconds, want) in zip(cases, plain, strict=True):
        keys, values, query = read_inputs(num_objects, num_frames)
        bank = MemoryBank()
        for key, value in zip(keys, values, strict=True):
            bank.write(key, dict(enumerate(value)), permanent=True)
        ours = best_of(lambda b=bank, q=query: b.read(q))
        error = float((bank.read(query) - want).abs().max() / want.abs().max())
        rows.append(
            {
                "objects": num_objects,
                "memory_frames": num_frames,
                "plain_s": seconds,
                "ours_s": ours,
                "ratio": seconds / ours,
                "relative_difference": error,
                "extra_mb": bank.workspace_mb,
            }
        )
    return rows


def read_inputs(
    num_objects: int, num_frames: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Keys (N, 1, 64, h, w), values (N, K, 512, h, w) and a query (1, 64, h, w)."""
    gen = torch.Generator().manual_seed(num_frames)
    return (
        torch.randn(num_frames, 1, 64, *GRID, generator=gen),
        torch.randn(num_frames, num_objects, 512, *GRID, generator=gen),
        torch.randn(1, 64, *GRID, generator=gen),
    )


def run_plain(network: STCN, frames: Frames, objects: int, count: int) -> tuple[float, list]:
    """Seconds per frame after the first, and label maps."""
    engine, labels = PlainEngine(network), []
    started = 0.0
    for t in range(count):
        if t == 1:
            started = time.perf_counter()
        given = frames.masks[objects] if t == 0 else None
        store = t % 5 == 0 and t < count - 1
        labels.append(engine.step(frames.tensors[t], given=given, store=store).argmax(0))
    return (time.perf_counter() - started) / (count - 1), labels


def run_ours(
    engine: PropagationEngine, frames: Frames, objects: int, count: int
) -> tuple[float, list]:
    """As `run_plain`."""
    engine.reset()
    labels = []
    started = 0.0
    for t in range(count):
        if t == 1:
            started = time.perf_counter()
        masks = None
        if t == 0:
            masks = {k + 1: mask for k, mask in enumerate(frames.masks[objects])}
        frame = engine.encode([frames.tensors[t]])[0]
        labels.append(engine.step(frame, masks, last=t == count - 1).argmax(0))
    return (time.perf_counter() - started) / (count - 1), labels


def bench_video(network: STCN, frames: Frames, count: int) -> list[Row]:
    """Whole videos of one object against the plain form."""
    plain, want = run_plain(network, frames, 1, count)
    rows: list[Row] = [{"engine": "plain fp32", "s_per_frame": plain, "ratio": 1.0, "equal": 1.0}]
    for name, dtype in (("ours fp32", torch.float32), ("ours bf16", torch.bfloat16)):
        engine = PropagationEngine(DeployedSTCN(network, dtype), MemoryPolicy())
        run_ours(engine, frames, 1, 7)
        seconds, got = run_ours(engine, frames, 1, count)
        equal = float(
            np.mean([(a == b).float().mean().item() for a, b in zip(got, want, strict=True)])
        )
        rows.append(
            {"engine": name, "s_per_frame": seconds, "ratio": plain / seconds, "equal": equal}
        )
    return rows


def bench_steady(
    network: STCN, frames: Frames, memory_frames: int = 20, cycles: int = 2
) -> list[Row]:
    """Time per frame once the memory holds many frames: a stored frame and four others."""
    image, count = frames.tensors[0], 5 * cycles
    base = plain_steady(network, frames, memory_frames, count)
    rows: list[Row] = [{"engine": "plain fp32", "s_per_frame": base, "ratio": 1.0}]
    for name, dtype in (("ours fp32", torch.float32), ("ours bf16", torch.bfloat16)):
        engine = PropagationEngine(DeployedSTCN(network, dtype), MemoryPolicy())
        given = {1: frames.masks[1][0]}
        for _ in range(memory_frames):
            engine.step(engine.encode([image])[0], given)
        engine.step(engine.encode([image])[0])
        engine.frame_idx = engine.frame_idx - 1
        started = time.perf_counter()
        for t in range(count):
            engine.step(engine.encode([frames.tensors[t + 1]])[0])
        seconds = (time.perf_counter() - started) / count
        rows.append({"engine": name, "s_per_frame": seconds, "ratio": base / seconds})
    return rows


def plain_steady(network: STCN, frames: Frames, memory_frames: int, count: int) -> float:
    """Seconds per frame of the plain form with that many memory frames."""
    plain = PlainEngine(network)
    plain.step(frames.tensors[0], given=frames.masks[1], store=True)
    assert plain.mem_key is not None and plain.mem_value is not None
    plain.mem_key = plain.mem_key.repeat(1, 1, memory_frames)
    plain.mem_value = plain.mem_value.repeat(1, 1, memory_frames)
    plain.step(frames.tensors[0], store=False)
    started = time.perf_counter()
    for t in range(count):
        plain.step(frames.tensors[t + 1], store=t % 5 == 4)
    return (time.perf_counter() - started) / count


def bench_objects(network: STCN, frames: Frames, count: int) -> list[Row]:
    """1, 2 and 10 objects."""
    rows: list[Row] = []
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        engine = PropagationEngine(DeployedSTCN(network, dtype), MemoryPolicy())
        single = 0.0
        for objects, frames_run in ((1, count), (2, count), (10, 7)):
            run_ours(engine, frames, objects, 3)
            seconds, _ = run_ours(engine, frames, objects, frames_run)
            single = single or seconds
            rows.append(
                {
                    "dtype": name,
                    "objects": objects,
                    "s_per_frame": seconds,
                    "against_one": seconds / single,
                }
            )
    return rows


def bench_stages(network: STCN, frames: Frames) -> list[Row]:
    """Stages of one frame: encoder, read at 10 memory frames, decoder, value encoder."""
    rows = []
    image = torch.nn.functional.pad(frames.tensors[0][None], (5, 5))
    readout, masks = torch.randn(2, 512, *GRID), torch.rand(2, 1, HEIGHT, WIDTH + 10)
    with torch.inference_mode():
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            net = DeployedSTCN(network, dtype)
            features = net.encode_key(image)
            key = best_of(lambda n=net: n.encode_key(image))
            for k in (1, 2):
                decode = best_of(lambda n=net, f=features, k=k: n.decode(readout[:k], f))
                value = best_of(
                    lambda n=net, f=features, k=k: n.encode_value(image, f.f16, masks[:k])
                )
                row = {"dtype": name, "objects": k, "key_encoder_s": key}
                rows.append({**row, "decoder_s": decode, "value_encoder_s": value})
    return rows


def bench_limit(network: STCN) -> list[Row]:
    """The convolutions of one frame alone, direct form: the limit without Winograd."""
    rows = []
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        shapes: list[tuple[torch.nn.Conv2d, torch.Size]] = []
        hooks = [
            module.register_forward_hook(
                lambda m, args, _out, s=shapes: s.append((m, args[0].shape))
            )
            for module in network.modules()
            if isinstance(module, torch.nn.Conv2d)
        ]
        with torch.inference_mode():
            features = network.encode_key(torch.zeros(1, 3, HEIGHT, WIDTH + 10))
            network.decoder(torch.zeros(1, 1024, *GRID), features.f8, features.f4)
            for hook in hooks:
                hook.remove()
            total = 0.0
            for module, shape in shapes:
                x = torch.zeros(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)
                weight = module.weight.to(dtype)
                total += best_of(
                    lambda x=x, w=weight, m=module: torch.nn.functional.conv2d(
                        x, w, None, m.stride, m.padding
                    ),
                    2,
                )
        rows.append({"dtype": name, "convolutions_s_per_frame": total})
    return rows


def bench_rss(num_frames: int, cap: int) -> Row:
    """Resident memory of a long 240p video with a capped memory, in a process of its own."""
    command = [sys.executable, __file__, "--rss-child", str(num_frames), str(cap)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    samples = np.array([[float(v) for v in line.split()] for line in out.splitlines()])
    warm = samples[samples[:, 0] >= num_frames // 3]
    slope = float(np.polyfit(warm[:, 0], warm[:, 1], 1)[0]) * 100
    return {
        "frames": num_frames,
        "max_memory_frames": cap,
        "rss_start_mb": float(samples[0, 1]),
        "rss_end_mb": float(samples[-1, 1]),
        "slope_mb_per_100_frames": slope,
    }


def rss_child(num_frames: int, cap: int) -> None:
    """Prints frame and resident MB every 50 frames."""
    from stcn.inference.predictor import Predictor
    from stcn.weights import find_weights

    torch.set_num_threads(2)
    predictor = Predictor(
        load_network(find_weights("demo").path), policy=MemoryPolicy(max_frames=cap)
    )
    video = generate_video(3, 40, 240, 428, 2)
    mask = video.visible[0]
    for t in range(num_frames):
        back_and_forth = abs((t % 78) - 39)
        predictor.step(video.frames[back_and_forth], mask if t == 0 else None)
        if t % 50 == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            sys.stdout.write(f"{t} {pages * resource.getpagesize() / 2**20}\n")
            sys.stdout.flush()


def bench_gpu(network: STCN, frames: Frames, count: int) -> list[Row]:
    """Frames per second at 480p on a GPU, where there is one."""
    rows: list[Row] = []
    if not torch.cuda.is_available():
        return rows
    network = network.to("cuda")
    frames.tensors = [frame.to("cuda") for frame in frames.tensors]
    for name, dtype in (("fp32", torch.float32), ("fp16", torch.float16)):
        engine = PropagationEngine(DeployedSTCN(network, dtype), MemoryPolicy())
        run_ours(engine, frames, 1, 10)
        torch.cuda.synchronize()
        seconds, _ = run_ours(engine, frames, 1, count)
        rows.append({"dtype": name, "fps": 1 / seconds})
    return rows


def deterministic_network() -> STCN:
    """The published structure with the recorded kit's deterministic weights."""
    with tempfile.TemporaryDirectory() as scratch:
        return load_network(Kit(RECORDS, Path(scratch)).weights("manifest_eval.json"))


def show(title: str, rows: list[Row]) -> None:
    """Prints a table."""
    print(f"\n{title}")
    for row in rows:
        cells = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        print("  " + "  ".join(cells))


SECTIONS: dict[str, Callable[[argparse.Namespace, STCN, Frames], list[Row]]] = {
    "read": lambda args, network, frames: bench_read(),
    "stages": lambda args, network, frames: bench_stages(network, frames),
    "limit": lambda args, network, frames: bench_limit(network),
    "video": lambda args, network, frames: bench_video(network, frames, args.frames),
    "steady": lambda args, network, frames: bench_steady(network, frames),
    "objects": lambda args, network, frames: bench_objects(network, frames, 12),
    "rss": lambda args, network, frames: [bench_rss(args.rss_frames, 20)],
    "gpu": lambda args, network, frames: bench_gpu(network, frames, args.frames),
}


def run_section(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Runs one section in this process; its rows and the peak memory."""
    torch.set_num_threads(args.threads)
    network, frames = deterministic_network(), Frames(args.davis, args.sequence, args.frames)
    rows = SECTIONS[name](args, network, frames)
    show(name, rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak RSS {peak:.0f} MB")
    return {"rows": rows, "peak_rss_mb": peak, "clip": frames.name}


def run_alone(argv: Sequence[str], name: str) -> dict[str, Any]:
    """Runs one section in a process of its own: no baseline runs under our engine's settings."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "section.json"
        command = [sys.executable, __file__, *argv, "--section", name, str(out)]
        subprocess.run(command, check=True)
        return json.loads(out.read_text())


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = ArgumentParser("bench_stcn.py", description=__doc__)
    add = parser.add_argument
    add("--davis", type=Path, help="DAVIS folder (JPEGImages/480p, Annotations/480p)")
    add("--sequence", default="blackswan", help="sequence of the DAVIS folder")
    add("--frames", type=int, default=40, help="frames of the whole-video section")
    add("--rss-frames", type=int, default=3000, help="frames of the section on memory")
    add("--threads", type=int, default=2, help="threads of PyTorch")
    add("--only", nargs="+", choices=list(SECTIONS), help="sections to run; the rest is kept")
    add("--out", type=Path, default=RESULTS, help="recorded results")
    add("--section", nargs=2, metavar=("NAME", "FILE"), help="internal: one section, rows to FILE")
    add("--rss-child", nargs=2, type=int, metavar=("FRAMES", "CAP"), help="internal")
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    if args.rss_child:
        rss_child(*args.rss_child)
        return 0
    if args.section:
        write_json(Path(args.section[1]), run_section(args, args.section[0]))
        return 0
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.only else {}
    result |= {
        "machine": f"{platform.processor() or platform.machine()}, {args.threads} threads",
        "torch": torch.__version__,
    }
    for name in args.only or SECTIONS:
        section = run_alone(argv, name)
        result[name] = section["rows"]
        result.setdefault("peak_rss_mb", {})[name] = section["peak_rss_mb"]
        result["clip"] = section["clip"]
        # After every section: a long run that is stopped keeps what it has measured.
        write_json(args.out, result)
    print(f"\nwritten to {args.out}")
    return 0


if __name__ == "__main__":
    run_cli(main)
