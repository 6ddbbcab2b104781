"""Parity cases of the command-line tools, end to end on tiny data sets (see `stcn.parity`)."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stcn.commands import eval_davis, eval_generic, eval_youtube
from vidseg_common.errors import UserError
from vidseg_common.masks import read_indices, write_binary_mask, write_mask

Arrays = Mapping[str, np.ndarray]
TOOLS: dict[str, Callable[..., int]] = {
    "eval_davis_2016.py": eval_davis.main_2016,
    "eval_davis.py": eval_davis.main_2017,
    "eval_youtube.py": eval_youtube.main,
    "eval_generic.py": eval_generic.main,
}


def run_cli_case(
    case: Mapping[str, Any], arrays: Arrays, weights: Path, scratch: Path
) -> dict[str, np.ndarray]:
    """Builds the case's data set, runs its tool and returns every label map it wrote."""
    root, output = scratch / case["name"] / "data", scratch / case["name"] / "out"
    tool = case["exercises"].rsplit(" ", 1)[-1]
    if tool not in TOOLS:
        raise UserError(f"unknown tool {tool!r}")
    flags = shlex.split(" ".join(f for f in case["config"]["flags"] if f.startswith("--")))
    flags = [flag.replace("<root>", str(root)) for flag in flags if flag != "--model"]
    layout = "testdev" if "testdev" in flags else tool.removesuffix(".py")
    _write_data(layout, case["config"]["videos"], arrays, root)
    argv = [*flags, "--model", str(weights), "--output", str(output), "--device", "cpu"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        TOOLS[tool]([*argv, "--no-metric"])
    written = sorted(path for path in output.rglob("*") if path.is_file())
    return {path.relative_to(output).as_posix(): read_indices(path) for path in written}


#: Layout to the folders of images and annotations, and the file with the list of videos.
LAYOUTS = {
    "eval_davis_2016": (
        "DAVIS/2016/JPEGImages/480p",
        "DAVIS/2016/Annotations/480p",
        "DAVIS/2017/trainval/ImageSets/2016/val.txt",
    ),
    "eval_davis": (
        "DAVIS/2017/trainval/JPEGImages/480p",
        "DAVIS/2017/trainval/Annotations/480p",
        "DAVIS/2017/trainval/ImageSets/2017/val.txt",
    ),
    "testdev": (
        "DAVIS/2017/test-dev/JPEGImages/480p",
        "DAVIS/2017/test-dev/Annotations/480p",
        "DAVIS/2017/test-dev/ImageSets/2017/test-dev.txt",
    ),
    "eval_youtube": (
        "YouTube/all_frames/valid_all_frames/JPEGImages",
        "YouTube/valid/Annotations",
        "YouTube/valid/meta.json",
    ),
    "eval_generic": ("generic/JPEGImages", "generic/Annotations", None),
}


def _write_data(layout: str, videos: Mapping[str, Any], arrays: Arrays, root: Path) -> None:
    images, masks, list_file = LAYOUTS[layout]
    for video, spec in videos.items():
        step = 5 if "annotated" in spec else 1
        folder = root / images / video
        folder.mkdir(parents=True)
        for t, frame in enumerate(_frames(spec)):
            stem = f"{t * step:05d}"
            # Lossless pixels under the usual name, so that decoders cannot differ.
            with (folder / f"{stem}.jpg").open("wb") as file:
                Image.fromarray(frame).save(file, "PNG")
            labels = _labels(arrays, video, stem, t)
            if labels is None or (layout == "testdev" and t > 0):
                continue
            target = root / masks / video / f"{stem}.png"
            if layout == "eval_davis_2016":
                write_binary_mask(target, labels > 0)
            else:
                write_mask(target, labels)
    if list_file is not None:
        text = _meta(videos) if list_file.endswith(".json") else "\n".join(videos)
        (root / list_file).parent.mkdir(parents=True, exist_ok=True)
        (root / list_file).write_text(text)


def _labels(arrays: Arrays, video: str, stem: str, t: int) -> np.ndarray | None:
    """A record holds the annotations of all frames at once, or one array per annotated frame."""
    every = arrays.get(f"in.annotation/{video}")
    return arrays.get(f"in.annotation/{video}/{stem}") if every is None else every[t]


def _meta(videos: Mapping[str, Any]) -> str:
    meta = {
        video: {
            "objects": {
                i: {"category": "object", "frames": frames}
                for i, frames in spec["meta_required"].items()
            }
        }
        for video, spec in videos.items()
    }
    return json.dumps({"videos": meta})


def _frames(spec: Mapping[str, int]) -> np.ndarray:
    """(T, H, W, 3) uint8: a fixed and a changing random part in blocks of 5 x 5 pixels."""
    rows, columns = -(-spec["h"] // 5), -(-spec["w"] // 5)
    still = np.random.RandomState(spec["seed"]).randint(0, 128, (1, rows, columns, 3))
    moving = np.random.RandomState(spec["seed"] + 1).randint(
        0, 128, (spec["frames"], rows, columns, 3)
    )
    small = (still + moving).astype(np.uint8)
    return small.repeat(5, 1).repeat(5, 2)[:, : spec["h"], : spec["w"]]
