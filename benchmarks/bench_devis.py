"""Speed and memory of DeVIS: `make bench-devis [ARGS=...]`.

Sections: operator (deformable attention alone, forward and with gradients, against grid_sample),
clip (a clip of 6 frames of 360x640 by the plain path and by ours, stage by stage, and how far
results agree), video (a synthetic video, frames shared by clips), training (a step, with gradient
checkpointing too), memory (a video of 200 frames) and precision (AP of a trained small network by
number format). Weights of clip and video are those of the recorded cases: they have the shapes of
the released models but are not trained. Plain path and ours take turns and the fastest round of
each counts, so that other work on the machine falls on both; `cpu_seconds` is the time of all
threads. Float32 unless a row says otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from devis_plain import plain_path
from sections import Row, Section, add_section_flags, peak_mb, resident_mb, run_sections
from timings import Timing, time_forms
from torch import Tensor

from devis.checkpoint import load_network
from devis.commands.main import main as devis_main
from devis.config import Config, load_config, model_settings, update
from devis.inference.predictor import Predictor
from devis.model import build
from devis.model.checkpointing import set_checkpointing
from devis.model.segmenter import DeVIS
from devis.model.settings import ModelSettings, TemporalSettings
from devis.ops.ms_deform_attn import level_starts, ms_deform_attn, plain_pytorch
from devis.parity import RECORDS
from devis.parity_kit import Kit
from devis.resume import NEWEST
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import run_cli
from vidseg_common.synthetic import generate_video

RESULTS = Path(__file__).parent / "results" / "devis.json"
#: Configuration and manifest of a clip's network.
MODELS = {
    "r50_yt19": ("devis_R_50_YT-19", "manifest_devis_r50_yt19.json"),
    "r50_yt21": ("devis_R_50_YT-21", "manifest_devis_r50_yt21.json"),
}
#: Levels of an image of 360x640.
LEVELS = [(45, 80), (23, 40), (12, 20), (6, 10)]
Engine = Callable[[DeVIS], AbstractContextManager[None]]
Attend = Callable[..., Tensor]


@contextlib.contextmanager
def ours(_network: DeVIS) -> Iterator[None]:
    """The network as `Predictor` runs it."""
    yield


@contextlib.contextmanager
def ours_bf16(_network: DeVIS) -> Iterator[None]:
    """The same in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        yield


ENGINES: dict[str, Engine] = {"plain fp32": plain_path, "ours fp32": ours, "ours bf16": ours_bf16}


def load(model: str) -> tuple[DeVIS, Config]:
    """A network of the shapes of a released one, with the weights of the recorded cases."""
    name, manifest = MODELS[model]
    cfg = load_config(name)
    with tempfile.TemporaryDirectory(prefix="devis-bench-") as scratch:
        kit = Kit(RECORDS, Path(scratch))
        network = load_network(kit.released_file(manifest, build(model_settings(cfg))), cfg)
    assert isinstance(network, DeVIS)
    return network.eval(), cfg


# --- the operator alone ---------------------------------------------------------------------------


def operator_inputs(frames: int) -> tuple[list[Tensor], list[tuple[int, int]], Tensor]:
    """What an encoder layer samples for one frame of 360x640 from this many frames.

    Returns:
        value, locations and weights; the levels; the gradient of the result.
    """
    made = torch.Generator().manual_seed(0)
    shapes = LEVELS * frames
    positions = sum(h * w for h, w in LEVELS)
    value = torch.randn(1, positions * frames, 8, 32, generator=made)
    centres = []
    for height, width in LEVELS:
        grid = ((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width)
        y, x = torch.meshgrid(*grid, indexing="ij")
        centres.append(torch.stack((x, y), -1).flatten(0, 1))
    sizes = torch.tensor([(w, h) for h, w in shapes])
    moves = torch.randn(1, positions, 8, len(shapes), 4, 2, generator=made) * 2
    pixels = torch.cat(centres)[None, :, None, None, None] * sizes[:, None] + moves - 0.5
    # Gradients jump where a sample meets the border of two pixels, and rounding decides there.
    pixels = pixels.floor() + (pixels - pixels.floor()).clamp(0.01, 0.99)
    locations = (pixels + 0.5) / sizes[:, None]
    weights = torch.rand(1, positions, 8, 4 * len(shapes), generator=made).softmax(-1)
    grad = torch.randn(1, positions, 256, generator=made)
    return [value, locations, weights.unflatten(-1, (-1, 4))], shapes, grad


def operator_forms(shapes: list[tuple[int, int]]) -> dict[str, Attend]:
    """Ways to sample: plain, ours, and the public package where it is installed."""
    starts = level_starts(shapes)

    def ours(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        return ms_deform_attn(value, shapes, starts, locations, weights)

    def plain(*inputs: Tensor) -> Tensor:
        with plain_pytorch():
            return ours(*inputs)

    forms: dict[str, Attend] = {"plain": plain, "ours": ours}
    if importlib.util.find_spec("torch_ms_deform_attn"):
        public = importlib.import_module("torch_ms_deform_attn").ms_deform_attn
        ends = torch.tensor(shapes), torch.tensor(starts)
        forms["package"] = lambda value, *samples: public(value, *ends, *samples)
    return forms


def attend_forward(form: Attend, inputs: list[Tensor], _grad: Tensor) -> list[Tensor]:
    """The result alone."""
    with torch.no_grad():
        return [form(*inputs)]


def attend_both(form: Attend, inputs: list[Tensor], grad: Tensor) -> list[Tensor]:
    """The result and the gradients of all inputs."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    out = form(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def bench_operator(args: argparse.Namespace) -> list[Row]:
    """One image, and the five other frames of a clip, forward and with all gradients."""
    rows = []
    for what, frames in (("own frame, 4 levels", 1), ("5 other frames, 20 levels", 5)):
        inputs, shapes, grad = operator_inputs(frames)
        forms = operator_forms(shapes)
        for part, run in (("forward", attend_forward), ("forward and backward", attend_both)):
            timed = {name: partial(run, form, inputs, grad) for name, form in forms.items()}
            rows.append(
                {"what": what, "part": part, **operator_row(time_forms(timed, args.repeat))}
            )
    return rows


def operator_row(timings: dict[str, Timing[list[Tensor]]]) -> Row:
    """Times, and the largest difference from the plain form relative to its largest number."""
    plain, mine = timings["plain"], timings["ours"]
    pairs = list(zip(mine.results[0], plain.results[0], strict=True))
    row = {
        "plain_s": min(plain.wall),
        "ours_s": min(mine.wall),
        "ratio": min(plain.wall) / min(mine.wall),
        "cpu_ratio": min(plain.cpu) / min(mine.cpu),
        "difference": max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs),
    }
    if "package" in timings:
        row["package_s"] = min(timings["package"].wall)
    return row


# --- a clip ---------------------------------------------------------------------------------------


class ClipRun:
    """One way to run a clip, and what its fastest round took.

    Args:
        network: of a model.
        engine: the way.
        slots: instance slots whose masks are made.
    """

    def __init__(self, network: DeVIS, engine: Engine, slots: Tensor) -> None:
        self.network, self.engine, self.slots = network, engine, slots
        self.stages: dict[str, float] = {}
        self.cpu_seconds = float("inf")
        self.scores = self.masks = torch.empty(0)

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(self.stages.values()) if self.stages else float("inf")

    @torch.inference_mode()
    def round(self, clip: Tensor) -> None:
        """Once from frames to masks."""
        marks, cpu, stages = [time.perf_counter()], time.process_time(), {}
        encoded: list[float] = []
        encoder = self.network.def_detr.transformer.encoder
        hook = encoder.register_forward_hook(lambda *_: encoded.append(time.perf_counter()))
        with self.engine(self.network):
            features = self.network.def_detr.extract(clip)
            marks.append(time.perf_counter())
            detections = self.network.def_detr.detect(features)
            marks += [*encoded, time.perf_counter()]
            masks = self.network.masks(detections, [self.slots])
            marks.append(time.perf_counter())
        hook.remove()
        names = ("backbone", "encoder", "decoder", "masks")
        stages = {n: b - a for n, a, b in zip(names, marks, marks[1:], strict=False)}
        self.cpu_seconds = min(self.cpu_seconds, time.process_time() - cpu)
        if sum(stages.values()) < self.seconds:
            self.stages = stages
        self.scores = detections.logits[-1].float().sigmoid()
        self.masks = masks.float()


def bench_clip(args: argparse.Namespace) -> list[Row]:
    """Six frames of 360x640 to the masks of every slot."""
    frames = np.stack(list(generate_video(1, 6, 360, 640, 3).frames))
    mean, deviation = (torch.tensor(x) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    clip = ((torch.from_numpy(frames) / 255 - mean) / deviation).permute(0, 3, 1, 2).contiguous()
    rows = []
    for model in args.models:
        network, cfg = load(model)
        slots = torch.arange(network.settings.queries_per_frame)[: cfg.TEST.NUM_OUT]
        runs = {name: ClipRun(network, engine, slots) for name, engine in ENGINES.items()}
        for index in range(args.repeat):
            for name, run in runs.items():
                if index < args.plain_repeat or name != "plain fp32":
                    run.round(clip)
        plain = runs["plain fp32"]
        rows += [clip_row(model, name, run, plain) for name, run in runs.items()]
    return rows


def clip_row(model: str, engine: str, run: ClipRun, plain: ClipRun) -> Row:
    """Times, and how far results agree with those of the plain path."""
    detect = {r: r.stages["encoder"] + r.stages["decoder"] for r in (run, plain)}
    mine, theirs = run.masks > 0, plain.masks > 0
    union = (mine | theirs).sum()
    return {
        "model": model,
        "num_masks": run.masks.shape[0] * run.masks.shape[1],
        "engine": engine,
        "seconds": run.seconds,
        "ratio": plain.seconds / run.seconds,
        "detect_ratio": detect[plain] / detect[run],
        "cpu_ratio": plain.cpu_seconds / run.cpu_seconds,
        "score_difference": float((run.scores - plain.scores).abs().max()),
        "mask_difference": float((run.masks - plain.masks).abs().max() / plain.masks.std()),
        "mask_iou": float((mine & theirs).sum() / union) if union else 1.0,
        **run.stages,
    }


# --- videos ---------------------------------------------------------------------------------------


def bench_video(args: argparse.Namespace) -> list[Row]:
    """A video of 360x640 from frames to tracks; how often each frame went through the backbone."""
    frames = list(generate_video(1, args.frames, 360, 640, 3).frames)
    rows = []
    for model in args.models:
        network, cfg = load(model)
        for name, dtype in (("ours fp32", torch.float32), ("ours bf16", torch.bfloat16)):
            best: Row = {"seconds": float("inf")}
            for _ in range(min(args.repeat, 2)):
                extracted: list[int] = []
                hook = network.def_detr.backbone[0].register_forward_hook(
                    lambda _m, inputs, _o, seen=extracted: seen.append(len(inputs[0]))
                )
                predictor = Predictor(network, cfg, dtype=dtype)
                cpu = time.process_time()
                clips: list[int] = []
                result = predictor.run(frames, lambda clip, seen=clips: seen.append(clip.number))
                hook.remove()
                row = {
                    "model": model,
                    "engine": name,
                    "frames": len(frames),
                    "clips": len(clips),
                    "backbone_frames": sum(extracted),
                    "tracks": len(result.tracks),
                    "seconds": predictor.times.total,
                    "frames_per_second": len(frames) / predictor.times.total,
                    "cpu_seconds": time.process_time() - cpu,
                    **{f"{k}_s": v for k, v in predictor.times.seconds.items()},
                }
                best = min(best, row, key=lambda r: r["seconds"])
            rows.append(best)
    return rows


def bench_memory(args: argparse.Namespace) -> list[Row]:
    """Resident memory of a long video; frames are made one at a time."""
    network, cfg = load("r50_yt19")
    cfg = update(cfg, ["INPUT.MIN_SIZE_TEST", 96, "INPUT.MAX_SIZE_TEST", 160])
    source = generate_video(3, 40, 180, 320, 2).frames
    rows = []
    for what, soft in (("soft", False), ("binary", True)):
        key = "TEST.CLIP_TRACKING.USE_BINARY_MASK_IOU"
        predictor = Predictor(network, update(cfg, [key, soft]))
        samples = []

        def frames(samples: list[tuple[int, float]] = samples) -> Iterator[np.ndarray]:
            for t in range(args.memory_frames):
                if t % 5 == 0:
                    samples.append((t, resident_mb()))
                yield source[abs(t % 78 - 39)]

        result = predictor.run(frames())
        points = np.array(samples)
        warm = points[points[:, 0] >= args.memory_frames // 4]
        rows.append(
            {
                "matching": what,
                "frames": args.memory_frames,
                "tracks": len(result.tracks),
                "rss_warm_mb": float(warm[0, 1]),
                "rss_end_mb": float(points[-1, 1]),
                "slope_mb_per_100_frames": 100 * float(np.polyfit(*warm.T, 1)[0]),
            }
        )
    return rows


# --- training and precision -----------------------------------------------------------------------


def training_step(form: str) -> Row:
    """One forward and backward pass of the whole network, and the peak memory of this process."""
    torch.manual_seed(0)
    temporal = TemporalSettings()
    settings = ModelSettings(
        family="devis", num_classes=40, num_queries=60, temporal=temporal, dropout=0.0
    )
    network = build(settings).train()
    assert isinstance(network, DeVIS)
    set_checkpointing(network, enabled=form.endswith("checkpointed"))
    clip = torch.randn(6, 3, 128, 224)
    chosen = [torch.arange(3)]
    best = float("inf")
    before = resident_mb()
    with plain_path(network) if form == "plain" else contextlib.nullcontext():
        for _ in range(2):
            started = time.perf_counter()
            found = network(clip, choose=lambda *_: chosen)
            terms = [found.detections.logits, found.detections.boxes, *found.masks.values()]
            torch.stack([x.square().mean() for x in terms]).sum().backward()
            best = min(best, time.perf_counter() - started)
    return {"form": form, "seconds": best, "peak_mb": peak_mb(), "start_mb": before}


FORMS = ("plain", "ours", "ours checkpointed")


def bench_training(args: argparse.Namespace) -> list[Row]:
    """A step on a clip of 6 frames of 128x224, each form in a process of its own."""
    rows: list[Row] = []
    for form in FORMS:
        command = [sys.executable, __file__, "--step", form, "--threads", str(args.threads)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        words = done.stdout.split()
        rows.append({"form": form, "seconds": float(words[-2]), "peak_mb": float(words[-1])})
    for row in rows:
        row["ratio"] = rows[0]["seconds"] / row["seconds"]
    return rows


def bench_precision(args: argparse.Namespace) -> list[Row]:
    """AP of the two clips of `overfit_devis.py`, which a small network has learnt, by format."""
    if args.overfit is None:
        print("  needs --overfit, a folder that overfit_devis.py --folder kept")
        return []
    folder = args.overfit.resolve()
    rows = []
    for name, amp in (("fp32", "off"), ("bf16", "bf16")):
        out = folder / f"output_{name}"
        keys = {
            "DATASETS.DATA_PATH": folder,
            "OUTPUT_DIR": out,
            "MODEL.WEIGHTS": folder / "output" / NEWEST,
        }
        flags = ["--config-file", "overfit", "--device", "cpu", "--amp", amp, "--eval-only"]
        devis_main([*flags, *(str(word) for pair in keys.items() for word in pair)])
        file = out / "output_eval" / "eval_results.json"
        numbers = json.loads(file.read_text(encoding="utf-8"))["numbers"]
        rows.append({"format": name, **{k: numbers[k] for k in ("AP", "AP50", "AP75")}})
    return rows


SECTIONS: dict[str, Section] = {
    "operator": bench_operator,
    "clip": bench_clip,
    "video": bench_video,
    "training": bench_training,
    "memory": bench_memory,
    "precision": bench_precision,
}


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = ArgumentParser("bench_devis.py", description=__doc__)
    add = parser.add_argument
    add("--models", nargs="+", choices=list(MODELS), default=["r50_yt19"], help="of clip and video")
    add("--frames", type=int, default=22, help="frames of the section on videos")
    add("--memory-frames", type=int, default=200, help="frames of the section on memory")
    add("--plain-repeat", type=int, default=2, help="rounds of the plain path of a clip")
    add("--overfit", type=Path, help="folder of `overfit_devis.py --folder`, for AP by format")
    add("--step", choices=FORMS, help="run one training step and print its time and peak memory")
    add_section_flags(parser, SECTIONS, RESULTS)
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    if args.step:
        torch.set_num_threads(args.threads)
        row = training_step(args.step)
        print(row["seconds"], row["peak_mb"])
        return 0
    return run_sections(__file__, argv, args, SECTIONS)


if __name__ == "__main__":
    run_cli(main)
