"""Runs the inference command of a parity case on frames written to disk."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from stemseg.commands.eval import build, build_parser
from stemseg.data.environment import ANNOTATIONS, VIDEO_SETS
from stemseg.evaluate import evaluate
from stemseg.inference.chain import ClipMaps
from stemseg.inference.engine import VideoTracks
from stemseg.parity_kit import Case, Kit
from vidseg_common.datasets.annotations import Video
from vidseg_common.errors import UserError
from vidseg_common.files import write_json
from vidseg_common.video import write_image

DATASETS = {"davis": "davis", "youtube_vis": "ytvis", "kitti_mots": "kittimots"}
ClipRecord = tuple[ClipMaps, dict[int, Tensor]]


@dataclass(frozen=True)
class CommandRun:
    """What a run of the command gave.

    Attributes:
        output: folder of its results.
        files: all files in it, relative, sorted.
        sequences: clips with the foreground of their frames, and tracks, of every sequence.
    """

    output: Path
    files: list[str]
    sequences: list[tuple[list[ClipRecord], VideoTracks]]


def run_command(case: Case, kit: Kit) -> CommandRun:
    """Writes the sequences of a case and runs the command over them.

    Raises:
        UserError: the case is not understood.
    """
    folder = kit.scratch / case["name"]
    dataset = DATASETS[case["manifest"].removeprefix("manifest_").removesuffix(".json")]
    environment = _write_sequences(dataset, case, kit.inputs(case), folder)
    config, output = case["config"], folder / "output"
    words = [
        str(kit.weights(case["manifest"])),
        *("--dataset", dataset, "--output_dir", str(output), *config["flags"]),
        *("--min_dim", str(config["min_dim"]), "--max_dim", str(config["max_dim"])),
        *("--device", "cpu", "--clustering_device", "cpu"),
    ]
    clips: list[ClipRecord] = []
    sequences: list[tuple[list[ClipRecord], VideoTracks]] = []

    def finished(video: Video, tracks: VideoTracks) -> None:
        sequences.append((clips.copy(), tracks))
        clips.clear()

    with _environment(environment):
        plan, make_engine = build(build_parser().parse_args(words))
        engine = make_engine()
        engine.listener = lambda maps, foreground: clips.append((maps, foreground))
        evaluate(plan, engine, finished=finished)
    files = sorted(str(p.relative_to(output)) for p in output.rglob("*") if p.is_file())
    return CommandRun(output, files, sequences)


def _sequence_ids(case: Case) -> list[Any]:
    """Ids of the sequences, which the case tells in words: `[('dog', 22), (3, 11)]`."""
    found = re.search(r"Sequences \[(.*?)\] \(id, frames\)", case["how"])
    if not found:
        raise UserError(f"case {case['name']}: its sequences are not named")
    ids = re.findall(r"\((?:'([^']*)'|(\d+)), \d+\)", found[1])
    return [text or int(number) for text, number in ids]


def _write_sequences(
    dataset: str, case: Case, inputs: Mapping[str, np.ndarray], folder: Path
) -> dict[str, str]:
    """Writes images and annotation file; returns the environment that names them."""
    stem, variable = VIDEO_SETS[dataset]
    images = folder / "images"
    inner = images / "valid" if dataset == "ytvis" else images
    sequences = []
    for i, sequence_id in enumerate(_sequence_ids(case)):
        frames = inputs[f"seq{i}_frames"]  # T, H, W, 3, BGR
        paths = [f"{sequence_id}/{t:05d}.png" for t in range(len(frames))]
        for path, frame in zip(paths, frames, strict=True):
            write_image(inner / path, np.ascontiguousarray(frame[..., ::-1]))
        height, width = frames.shape[1:3]
        sequences.append(
            {"id": sequence_id, "height": height, "width": width, "image_paths": paths}
        )
    content = {"meta": {"category_labels": {"1": "object"}}, "sequences": sequences}
    write_json(folder / "annotations" / f"{stem}_val.json", json.loads(json.dumps(content)))
    return {ANNOTATIONS: str(folder / "annotations"), variable: str(images)}


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
