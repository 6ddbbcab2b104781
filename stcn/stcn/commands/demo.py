"""`stcn demo`: the main job on a built-in sample, or on the user's own video, with a report."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stcn.commands.common import say
from stcn.commands.predict import add_flags, predict_video, predictor_for
from stcn.weights import Weights, find_weights
from vidseg_common.config import ArgumentParser
from vidseg_common.demo.sample import DemoSample, make_demo_sample
from vidseg_common.errors import UserError
from vidseg_common.files import write_json
from vidseg_common.masks import object_ids, read_mask, write_mask
from vidseg_common.metrics.davis_jf import jf_frame
from vidseg_common.report import Chart, Report, Strip, Table, package_versions, write_report
from vidseg_common.video import list_images, open_source
from vidseg_common.visualize import overlay

#: An object counts as entered when this share of the frame shows it.
MIN_ENTRY_SHARE = 0.002
STRIP_FRAMES = 6


@dataclass(frozen=True)
class Job:
    """What is to be segmented, and what it is compared with."""

    video: Path
    masks: list[str]
    truth: Path | None


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `make demo [VIDEO=clip.mp4 MASK=first.png]`."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = ArgumentParser("stcn demo", description=__doc__)
    parser.add_argument("--video", type=Path, help="own video file or folder of frames")
    parser.add_argument(
        "--mask",
        action="append",
        default=[],
        metavar="[FRAME=]PNG",
        help="mask of the own video; repeat for later objects",
    )
    parser.add_argument("--truth", type=Path, help="folder with masks of (some) frames, to score")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("runs/demo"), help="folder for the results"
    )
    parser.add_argument("--model", default=None, help="weights file, 'official' or 'demo'")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    args = parser.parse_args(argv)
    if (args.video is None) != (not args.mask):
        raise UserError("an own video needs both --video and --mask")
    job = _sample_job(args.output) if args.video is None else Job(args.video, args.mask, args.truth)
    _check_truth(job)
    weights = find_weights(args.model)
    say(f"weights: {weights.title}")
    flags = ["--device", args.device, "-o", str(args.output), str(job.video)]
    inner = ArgumentParser("stcn predict")
    add_flags(inner)
    predict_args = inner.parse_args([*flags, *(w for m in job.masks for w in ("--mask", m))])
    _clear(args.output)
    predictor = predictor_for(weights, predict_args)
    summary = predict_video(job.video, job.masks, args.output, predictor, weights, gif=True)
    scores = _score(job, args.output, summary)
    command = ["stcn", "demo", *argv]
    device = "CPU" if predictor.engine.device.type == "cpu" else "GPU"
    _report(job, args.output, summary, scores, weights, command, device)
    say(
        f"{summary['num_frames']} frames at {summary['fps']:.1f} frames per second",
        *(
            [f"J&F {scores['J&F']:.3f} (J {scores['J']:.3f}, F {scores['F']:.3f})"]
            if scores
            else []
        ),
        *(
            f"  {args.output / name}"
            for name in ("report.html", "overlay.mp4", "overlay.gif", "masks", "result.json")
        ),
    )
    return 0


def _check_truth(job: Job) -> None:
    """Refuses masks to compare with whose size is not that of the video, before any work."""
    if job.truth is None:
        return
    with open_source(job.video, prefetch=0) as source:
        size = (source.height, source.width)
    for path in list_images(job.truth):
        truth = read_mask(path)
        if truth.shape != size:
            raise UserError(
                f"{path}: the mask is {truth.shape[1]}x{truth.shape[0]}, "
                f"the video is {size[1]}x{size[0]}"
            )


def _clear(output: Path) -> None:
    """Masks of an earlier, longer video must not stay among the new ones."""
    shutil.rmtree(output / "masks", ignore_errors=True)


def _sample_job(output: Path) -> Job:
    """Writes the sample and the masks a user would draw: each object where it first shows."""
    sample: DemoSample = make_demo_sample(output / "sample")
    given = output / "given"
    shutil.rmtree(given, ignore_errors=True)
    known: set[int] = set()
    words = []
    for i, path in enumerate(list_images(sample.annotations)):
        mask = read_mask(path)
        areas = {k: int((mask == k).sum()) for k in object_ids(mask)}
        new = [k for k, a in areas.items() if k not in known and a > MIN_ENTRY_SHARE * mask.size]
        if new:
            target = given / path.name
            write_mask(target, np.where(np.isin(mask, new), mask, 0).astype(np.uint8))
            words.append(f"{i}={target}")
            known.update(new)
    return Job(sample.frames, words, sample.annotations)


def _score(job: Job, output: Path, summary: dict[str, Any]) -> dict[str, Any]:
    """J and F of every object over the annotated frames, those with a given mask left out."""
    if job.truth is None:
        return {}
    written = {Path(frame["name"]).stem: i for i, frame in enumerate(summary["frames"])}
    entered: dict[int, int] = {}
    per_frame: list[dict[str, Any]] = []
    for path in list_images(job.truth):
        if path.stem not in written:
            continue
        i = written[path.stem]
        truth = read_mask(path)
        mask = read_mask(output / "masks" / f"{path.stem}.png")
        if i in summary["given_masks"]:
            for k in object_ids(truth):
                if (mask == k).any():
                    entered.setdefault(k, i)
            continue
        for k in entered:
            j, f = jf_frame(truth == k, mask == k)
            per_frame.append({"frame": path.stem, "object": k, "J": j, "F": f})
    if not per_frame:
        return {}
    objects = {
        k: {m: float(np.mean([r[m] for r in per_frame if r["object"] == k])) for m in "JF"}
        for k in entered
    }
    j, f = (float(np.mean([o[m] for o in objects.values()])) for m in "JF")
    scores = {"J&F": (j + f) / 2, "J": j, "F": f, "objects": objects, "per_frame": per_frame}
    write_json(output / "score.json", scores)
    return scores


def _report(
    job: Job,
    output: Path,
    summary: dict[str, Any],
    scores: dict[str, Any],
    weights: Weights,
    command: list[str],
    device: str,
) -> None:
    numbers: dict[str, Any] = {
        "frames": summary["num_frames"],
        "objects": len(summary["object_ids"]),
        "frames per second": round(summary["fps"], 2),
    }
    charts, tables = [], []
    if scores:
        numbers |= {name: round(scores[name], 3) for name in ("J&F", "J", "F")}
        charts.append(_chart(scores))
        rows = [(k, round(o["J"], 3), round(o["F"], 3)) for k, o in scores["objects"].items()]
        tables.append(Table("Objects", ("object", "J", "F"), rows))
    report = Report(
        title="STCN: video object segmentation",
        command=command,
        summary=f"{job.video.name}, segmented from {len(job.masks)} given mask(s).",
        numbers=numbers,
        weights={weights.title: f"sha256 {weights.sha256[:16]}…"},
        device=device,
        versions=package_versions(),
        charts=charts,
        tables=tables,
        strips=[_strip(job, output, summary)],
        files={"overlay video": "overlay.mp4", "result": "result.json", "masks": "masks"},
    )
    write_report(output / "report.html", report)


def _chart(scores: dict[str, Any]) -> Chart:
    labels = sorted({row["frame"] for row in scores["per_frame"]})
    series = {
        f"object {k}": [
            next((r["J"] for r in scores["per_frame"] if (r["frame"], r["object"]) == (n, k)), None)
            for n in labels
        ]
        for k in scores["objects"]
    }
    return Chart("Region similarity J by frame", labels, series, kind="lines")


def _strip(job: Job, output: Path, summary: dict[str, Any]) -> Strip:
    count = summary["num_frames"]
    chosen = set(np.linspace(0, count - 1, min(count, STRIP_FRAMES)).astype(int).tolist())
    images, captions = [], []
    with open_source(job.video) as source:
        for frame in source:
            if frame.index in chosen:
                mask = read_mask(output / "masks" / f"{Path(frame.name).stem}.png")
                images.append(overlay(frame.image, mask))
                captions.append(f"frame {frame.index}")
    return Strip("Frames", images, captions)
