"""AP, vAP, MOT and MOTS of visible and amodal masks. Source: spec vatrack section 7."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidseg_common.datasets import sailvos
from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.datasets.sailvos_per_video import Masks
from vidseg_common.errors import UserError
from vidseg_common.metrics.amodal_ap import Part, evaluate_part, official_names
from vidseg_common.metrics.amodal_groups import average_area, occlusion_score
from vidseg_common.metrics.amodal_mot import evaluate as evaluate_mot
from vidseg_common.metrics.ap_result import APResult
from vidseg_common.parity.records import Check, read_arrays, read_json, same

_INPUT = "evaluation_input.json"
_UNDEFINED = -1e9
_MOT_COLUMNS = (
    *("mota", "motp", "num_misses", "num_false_positives", "num_switches"),
    *("mostly_tracked", "mostly_lost", "idf1"),
)
_OTHER: dict[Masks, Masks] = {"visible": "amodal", "amodal": "visible"}


def check(kit: Path, case: dict[str, Any]) -> Iterator[Check]:
    """Scores the recorded predictions and compares every recorded output."""
    record = read_arrays(kit / case["file"])
    inputs = read_json(kit / _INPUT)
    tolerance = float(case["tolerance_rel"])
    with TemporaryDirectory(prefix="vidseg-parity-") as folder:
        sets = _Sets(Path(folder), inputs)
        for name in case["outputs"]:
            yield name, _relative(record, name, _output(sets, name)), tolerance
        yield from _returned(sets, case)
        for masks in _OTHER:
            yield same(f"per-video ground truth, {masks}", *sets.per_video(masks))


class _Sets:
    """The recorded annotations and predictions, read from files of the official forms."""

    def __init__(self, folder: Path, inputs: Mapping[str, Any]) -> None:
        self._folder = folder
        self._inputs = inputs
        truth = folder / "truth.json"
        truth.write_text(json.dumps(inputs["joint_amodal_bbox"]))
        self.truth = sailvos.read(truth)
        self.results = {masks: self._results(masks) for masks in _OTHER}
        self._parts: dict[Part, APResult] = {}

    def _results(self, masks: Masks) -> AnnotationSet:
        frames = [
            {int(i): {**track, "bbox": np.array(track["bbox"])} for i, track in frame.items()}
            for frame in self._inputs[f"results_{masks}"]
        ]
        path = self._folder / f"{masks}.pkl"
        path.write_bytes(pickle.dumps({"track_result": frames}))
        return sailvos.read_results(path, self.truth, masks=masks)

    def part(self, part: Part) -> APResult:
        """One evaluation, computed once."""
        if part not in self._parts:
            self._parts[part] = evaluate_part(self.truth, self.results[part.masks], part)
        return self._parts[part]

    def per_video(self, masks: Masks) -> tuple[Any, Any]:
        """Per-video ground truth, ours and the recorded one."""
        path = self._folder / f"per_video_{masks}.json"
        sailvos.write_per_video(self.truth, path, masks=masks)
        got = read_json(path)
        for video in got["videos"]:
            del video["file_names"]
        return got, self._inputs[f"per_video_{masks}"]


def _output(sets: _Sets, name: str) -> NDArray[np.float64]:
    """Our value of an output such as `image_visible_segm_stats` or `mots_amodal_box`."""
    level, masks, rest = name.split("_", 2)
    if masks not in _OTHER:
        raise UserError(f"unknown recorded output {name!r}")
    if level in ("mot", "mots"):
        return _mot(sets, masks, rest, is_swapped=level == "mots")
    if level == "video" and rest in ("avg_area", "occ_score"):
        tracks = [track for clip in sets.truth.clips() for track in clip.tracks]
        if rest == "avg_area":
            return np.array([average_area(track, masks) for track in tracks])
        return np.array([occlusion_score(track) for track in tracks])
    iou, measure = ("segm", rest) if level == "video" else rest.split("_", 1)
    if rest == "per_class_ap":
        iou, measure = "segm", rest
    values: dict[str, Callable[[APResult], Any]] = {
        "stats": lambda result: list(result.numbers.values()),
        "precision": lambda result: result.precision,
        "recall": lambda result: result.recall,
        "per_class_ap": lambda result: [row["AP"] for row in result.per_class()],
    }
    if level not in ("image", "video") or iou not in ("segm", "bbox") or measure not in values:
        raise UserError(f"unknown recorded output {name!r}")
    part = Part(level, masks, iou)  # type: ignore[arg-type]  # checked just now
    return np.array(values[measure](sets.part(part)), np.float64)


def _mot(sets: _Sets, masks: Masks, shape: str, *, is_swapped: bool) -> NDArray[np.float64]:
    """The table of the original tool, which has the boxes of the ground truth the wrong way."""
    result = evaluate_mot(
        sets.truth,
        sets.results[masks],
        masks=masks,
        iou_type="bbox" if shape == "box" else "segm",
        truth_boxes=_OTHER[masks] if is_swapped else masks,
    )
    rows = [[row[column] for column in _MOT_COLUMNS] for row in result.rows(compat=True)]
    values = np.array(rows, np.float64)
    return np.where(np.isfinite(values), values, _UNDEFINED)


def _returned(sets: _Sets, case: Mapping[str, Any]) -> Iterator[Check]:
    """The merged dictionary of the original tool, where the last evaluation of a name stays."""
    want = case.get("notes", {}).get("returned_by_upstream", {})
    boxes = official_names(sets.part(Part("image", "amodal", "bbox")).numbers, "bbox")
    masks = official_names(sets.part(Part("video", "amodal")).numbers, "segm")
    for name, value in want.items():
        if value is not None:
            yield same(f"returned {name}", (boxes | masks).get(name), value)


def _relative(record: Mapping[str, Any], name: str, got: NDArray[np.float64]) -> float:
    """Largest error, measured by the standard deviation of what was recorded."""
    if f"out.{name}.shape" not in record:
        raise UserError(f"the record has no output {name!r}")
    shape: Sequence[int] = tuple(int(length) for length in record[f"out.{name}.shape"])
    if got.shape != shape:
        return math.inf
    flat = got.reshape(-1)
    picked = flat[record[f"out.{name}.index"]] if f"out.{name}.index" in record else flat
    scale = max(float(record[f"out.{name}.moments"][1]), 1e-12)
    return float(np.abs(picked - record[f"out.{name}.values"]).max(initial=0.0)) / scale
