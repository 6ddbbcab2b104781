"""Speed of the stages of a training step, method by method: `make bench-scale [ARGS=...]`.

A row is a training with the published network and settings, one sample per backward pass, on a
synthetic video of the data set's frame size, started as a user starts it. Seconds are per sample:
loader (reading, decoding and augmenting in the training process, one core), forward with losses,
backward, and optimiser (per step); the first step warms up and does not count. write is the time of
one checkpoint, beside its size. Frames are those of a sample. What follows for many GPUs is in
docs/scale.md.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import torch
from sections import Row, add_section_flags, run_sections

from vidseg_common.config import ArgumentParser
from vidseg_common.errors import run_cli
from vidseg_common.feed_meter import FeedMeter
from vidseg_common.synthetic import SceneOptions, generate_video
from vidseg_common.synthetic_layouts import write_layout
from vidseg_common.synthetic_writers import write_davis

RESULTS = Path(__file__).parent / "results" / "scale.json"
SCENE = SceneOptions(min_area=0.05, max_area=0.2, late_entry=0, leave=0)


class Stopwatch:
    """Seconds of the stages of every step, taken by wrapping what a step calls.

    Args:
        trainer: class of a method's training.
        steps: after as many the training is told to stop.
        save: name of its method that writes a checkpoint.
    """

    def __init__(self, trainer: type, steps: int, save: str = "save") -> None:
        self.steps: list[dict[str, float]] = []
        self.write = self.gradient_mb = 0.0
        self._now: dict[str, float] = {}
        self._trainer, self._last, self._save = trainer, steps, save

    def run(self, command: Callable[[list[str]], object], words: list[str]) -> None:
        """Runs the training command."""
        trainer: Any = self._trainer
        originals = [
            (trainer, "_iterate", trainer._iterate),
            (trainer, self._save, getattr(trainer, self._save)),
            (torch.Tensor, "backward", torch.Tensor.backward),
            (torch.amp.GradScaler, "step", torch.amp.GradScaler.step),
            (FeedMeter, "watch", FeedMeter.watch),
        ]
        trainer._iterate = self._step(trainer._iterate)
        setattr(trainer, self._save, self._written(getattr(trainer, self._save)))
        for owner, name, stage in (
            (torch.Tensor, "backward", "backward"),
            (torch.amp.GradScaler, "step", "optimiser"),
        ):
            setattr(owner, name, self._timed(getattr(owner, name), stage))
        FeedMeter.watch = self._watched(FeedMeter.watch)  # type: ignore[method-assign]
        try:
            command(words)
        finally:
            for owner, name, original in originals:
                setattr(owner, name, original)

    def row(self, **facts: object) -> Row:
        """Medians of all steps but the first."""
        counted = self.steps[1:]
        stages = ("loader", "forward", "backward", "optimiser")
        medians = {f"{k}_s": statistics.median(step[k] for step in counted) for k in stages}
        return {
            **facts,
            "steps": len(counted),
            **medians,
            "write_s": self.write,
            "gradient_mb": self.gradient_mb,
        }

    def _add(self, stage: str, began: float) -> None:
        self._now[stage] = self._now.get(stage, 0.0) + time.perf_counter() - began

    def _timed(self, call: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*given, **named)
            finally:
                self._add(stage, began)

        return timed

    def _watched(self, watch: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def watched(meter: FeedMeter, batches: Iterator[Any], samples: float) -> Iterator[Any]:
            source = watch(meter, batches, samples)
            while True:
                began = time.perf_counter()
                try:
                    batch = next(source)
                except StopIteration:
                    return
                self._add("loader", began)
                yield batch

        return watched

    def _step(self, iterate: Callable[..., Any]) -> Callable[..., Any]:
        def step(trainer: Any, *given: Any) -> Any:
            inside = self._now.get("loader", 0.0)
            began = time.perf_counter()
            result = iterate(trainer, *given)
            seconds = time.perf_counter() - began
            # Some methods ask for their batches within a step.
            inside = self._now.get("loader", 0.0) - inside
            known = sum(self._now.get(stage, 0.0) for stage in ("backward", "optimiser"))
            self._now["forward"] = seconds - known - inside
            self.steps.append({"optimiser": 0.0, **self._now})
            self._now = {}
            learnt = [p for p in trainer.network.parameters() if p.requires_grad]
            self.gradient_mb = sum(4 * p.numel() for p in learnt) / 1e6
            if len(self.steps) == self._last:
                signal.raise_signal(signal.SIGTERM)
            return result

        return step

    def _written(self, save: Callable[..., Any]) -> Callable[..., Any]:
        def written(trainer: Any, *given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            result = save(trainer, *given, **named)
            self.write = max(self.write, time.perf_counter() - began)
            return result

        return written


def stcn(args: argparse.Namespace, folder: Path) -> Row:
    """Stage 3: three frames of 384 x 384, two objects."""
    from stcn.commands import train
    from stcn.engine import Trainer

    write_davis([clip(480, 854)], folder / "2017" / "trainval", split="train")
    watch = Stopwatch(Trainer, args.steps + 1)
    words = ["--stage", "3", "--id", "x", "--saves", f"{folder}/saves", "--log_folder"]
    words += [f"{folder}/log", "--device", "cpu", "-b", "1"]
    words += ["--num_workers", "0", "--davis_root", str(folder), "data.source", "davis"]
    words += ["pretrained", "false"]
    watch.run(train.main, words)
    return watch.row(frames=3, size="384x384", checkpoint_mb=largest(folder, "*_checkpoint.pth"))


def stemseg(args: argparse.Namespace, folder: Path) -> Row:
    """davis_1: eight frames, of half its 736 x 1248."""
    from stemseg.commands import train
    from stemseg.engine import Trainer

    write_layout("stemseg", [clip(480, 854, 20)], folder, split="train")
    os.environ |= {
        "STEMSEG_JSON_ANNOTATIONS_DIR": str(folder / "annotations"),
        "STEMSEG_MODELS_DIR": str(folder),
        "DAVIS_BASE_DIR": str(folder / "train" / "JPEGImages"),
    }
    weights = {"DAVIS": 1, "COCO": 0, "YOUTUBE_VIS": 0, "PASCAL_VOC": 0}
    opts = ["TRAINING.BATCH_SIZE", "1", "INPUT.MIN_DIM", "368", "INPUT.MAX_DIM", "624"]
    opts += ["MODEL.BACKBONE.PRETRAINED_WEIGHTS", ""]
    opts += [w for k, v in weights.items() for w in (f"DATA.DAVIS.{k}_WEIGHT", str(v))]
    words = ["--cfg", "davis_1", "--model_dir", "x", "--device", "cpu", "--num_cpu_workers", "0"]
    watch = Stopwatch(Trainer, args.steps + 1)
    watch.run(train.main, [*words, "--opts", *opts])
    saved = largest(folder / "checkpoints", "*.pth")
    return watch.row(frames=8, size="368x624", checkpoint_mb=saved)


def stmask(args: argparse.Namespace, folder: Path) -> Row:
    """The base configuration: two frames of 384 x 640."""
    from stmask.commands import train
    from stmask.config import DATA_ROOT_VARIABLE
    from stmask.engine import Trainer

    write_layout("ytvis", [clip(720, 1280)], folder / "YouTube_VOS2021", split="train")
    os.environ[DATA_ROOT_VARIABLE] = str(folder)
    words = ["--config", "STMask_plus_base_config", "--save_folder", f"{folder}/weights"]
    words += ["--device", "cpu", "--num_workers", "0", "--batch_size", "1", "--no_autoscale"]
    words += ["--validation_epoch", "0", "--start_from", "none"]
    words += ["--train_dataset", "train_YouTube_VOS2021_dataset"]
    watch = Stopwatch(Trainer, args.steps + 1)
    watch.run(train.main, words)
    return watch.row(frames=2, size="384x640", checkpoint_mb=total(folder / "weights", "*_*_*"))


def devis(args: argparse.Namespace, folder: Path) -> Row:
    """YouTube-VIS 2021 with ResNet-50: six frames."""
    from devis.commands import train
    from devis.engine import Trainer

    write_layout("ytvis", [clip(720, 1280)], folder / "Youtube_VIS-2021", split="train")
    words = ["--config-file", "devis_R_50_YT-21", "--device", "cpu", "--backbone-weights", "none"]
    words += ["DATASETS.DATA_PATH", str(folder), "OUTPUT_DIR", f"{folder}/out", "NUM_WORKERS", "0"]
    words += ["MODEL.WEIGHTS", "", "SOLVER.EPOCHS", "1", "VISDOM_ON", "False"]
    words += ["TEST.EVAL_PERIOD", "0"]
    watch = Stopwatch(Trainer, args.steps + 1)
    watch.run(train.main, words)
    size = "288 to 512 high"
    return watch.row(frames=6, size=size, checkpoint_mb=largest(folder / "out", "*.pth"))


def vatrack(args: argparse.Namespace, folder: Path) -> Row:
    """ResNet-50: a pair of frames of 800 x 1280."""
    from vatrack.commands import train
    from vatrack.config import DATA_VARIABLE
    from vatrack.engine import Trainer

    write_layout("sailvos", [clip(800, 1280)], folder, split="train")
    os.environ[DATA_VARIABLE] = str(folder)
    words = ["--config", "QDbasedVATrack_SAILVOScut", "--backbone", "r50", "--device", "cpu"]
    words += ["--work-dir", f"{folder}/work", "--no-validate"]
    options = ["data.samples_per_gpu=1", "data.workers_per_gpu=0", "log_config.interval=1"]
    watch = Stopwatch(Trainer, args.steps + 1, "_save")
    watch.run(
        train.main, [*words, "--cfg-options", *options, "load_from=None", "model.pretrained=None"]
    )
    return watch.row(frames=2, size="800x1280", checkpoint_mb=largest(folder / "work", "iter*.pth"))


def clip(height: int, width: int, num_frames: int = 8) -> Any:
    """A synthetic video of this size."""
    return generate_video(3, num_frames, height, width, 2, SCENE)


def largest(folder: Path, pattern: str) -> float:
    """Size of the largest file below a folder, in millions of bytes."""
    return max(path.stat().st_size for path in folder.rglob(pattern)) / 1e6


def total(folder: Path, pattern: str) -> float:
    """Size of all files below a folder, in millions of bytes."""
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file()) / 1e6


def in_scratch(
    method: Callable[[argparse.Namespace, Path], Row],
) -> Callable[[argparse.Namespace], list[Row]]:
    """A section that runs in a folder of its own."""

    def section(args: argparse.Namespace) -> list[Row]:
        cv2.setNumThreads(0)
        # Random weights make numbers so small that processors slow down; trained ones do not.
        torch.set_flush_denormal(True)
        with tempfile.TemporaryDirectory(prefix="bench-scale-") as name:
            return [{"method": method.__name__, **method(args, Path(name))}]

    return section


SECTIONS = {
    method.__name__: in_scratch(method) for method in (stcn, stemseg, stmask, devis, vatrack)
}


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    argv = sys.argv[1:] if argv is None else argv
    parser = ArgumentParser("bench_scale.py", description=__doc__)
    add_section_flags(parser, SECTIONS, RESULTS)
    parser.add_argument("--steps", type=int, default=2, help="steps that count, after the first")
    args = parser.parse_args(argv)
    return run_sections(__file__, argv, args, SECTIONS)


if __name__ == "__main__":
    run_cli(main)
