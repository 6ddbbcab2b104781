"""Run-length codec, areas, boxes, polygons, IoU, merges, palette. Source: spec common 2 and 3."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidseg_common import rle
from vidseg_common.errors import MaskError
from vidseg_common.masks import DAVIS_PALETTE
from vidseg_common.parity.records import (
    Check,
    expected_path,
    input_path,
    near,
    read_arrays,
    read_json,
    same,
)


def check(kit: Path, case: dict[str, Any]) -> Iterator[Check]:
    """Compares every recorded mask, polygon, box, pair, refusal and the palette."""
    record = read_json(expected_path(kit, case))
    masks = read_arrays(input_path(kit, case, ".npz"))
    for name, want in record["masks"].items():
        yield from _masks(name, masks[name].astype(bool), want)
    polygons = read_json(input_path(kit, case, ".json")) if record.get("polygons") else {}
    for name, want in record.get("polygons", {}).items():
        yield from _polygons(name, polygons[name], want)
    if "pairs" in record:
        yield from _pairs(case, record["pairs"])
    if "boxes" in record:
        boxes = rle.from_boxes(record["boxes"]["boxes"], *record["boxes"]["size"])
        yield same("boxes", [box["counts"] for box in boxes], record["boxes"]["strings"])
    for name in record.get("bad", {}):
        yield _refusal(name)
    if "palette_sha256" in record:
        digest = hashlib.sha256(DAVIS_PALETTE.tobytes()).hexdigest()
        yield same("palette", digest, record["palette_sha256"])


def _masks(name: str, mask: NDArray[np.bool_], want: Mapping[str, Any]) -> Iterator[Check]:
    size, string = want["size"], want["string"]
    yield same(f"{name}: string", rle.encode(mask), {"size": size, "counts": string})
    counts = rle.string_to_counts(string)
    listed = counts.tolist() if want["counts"] is None else want["counts"]
    yield same(f"{name}: counts", (counts.tolist(), len(counts)), (listed, want["n_counts"]))
    yield same(f"{name}: back to string", rle.counts_to_string(counts), string)
    for form in (string, string.encode(), counts.tolist()):
        given = {"size": size, "counts": form}
        kind = type(form).__name__
        yield same(f"{name}: pixels of {kind}", bool((rle.decode(given) == mask).all()), True)
        measures = (rle.area(given), rle.to_bbox(given))
        yield same(f"{name}: area and box of {kind}", measures, (want["area"], want["bbox"]))


def _polygons(name: str, polygon: list[Any], want: Mapping[str, Any]) -> Iterator[Check]:
    parts, height, width = polygon
    whole = rle.from_polygons(parts, height, width)
    yield same(f"{name}: string", whole, {"size": want["size"], "counts": want["string"]})
    measures = (rle.area(whole), rle.to_bbox(whole))
    yield same(f"{name}: area and box", measures, (want["area"], want["bbox"]))
    each = [rle.from_polygons([part], height, width)["counts"] for part in parts]
    yield same(f"{name}: parts", each, want["parts"])


def _pairs(case: Mapping[str, Any], want: Mapping[str, Any]) -> Iterator[Check]:
    masks = [{"size": want["size"], "counts": text} for text in want["strings"]]
    yield near(case, "IoU", rle.iou(masks, masks).tolist(), want["iou"])
    crowd = rle.iou(masks, masks, [True] * len(masks))
    yield near(case, "IoU with crowds", crowd.tolist(), want["iou_crowd"])
    # The recorded merges are those of the first three; the last two masks are empty and full.
    union, intersection = rle.merge(masks[:3]), rle.merge(masks[:3], intersect=True)
    yield same("union", union["counts"], want["union_all"])
    yield same("intersection", intersection["counts"], want["intersection_all"])
    yield same("merge of one", rle.merge(masks[:1])["counts"], want["merge_one"])
    # The reference gives a mask of size [0, 0]; ours wants to know which size is meant.
    yield "merge of none", _refuses(lambda: rle.merge([])), 0.0


def _refusal(name: str) -> Check:
    """A malformed input that must be refused; the names are those of the record."""
    small, large = rle.encode(np.ones((2, 2))), rle.encode(np.ones((4, 1)))
    actions: dict[str, Callable[[], object]] = {
        "too_few_pixels": lambda: rle.decode({"size": [3, 3], "counts": "5"}),
        "too_many_pixels": lambda: rle.decode({"size": [3, 3], "counts": [5, 5]}),
        "merge_of_different_sizes": lambda: rle.merge([small, large]),
        "iou_of_different_sizes": lambda: rle.iou([small], [large]),
    }
    return f"{name} is refused", _refuses(actions[name]) if name in actions else math.inf, 0.0


def _refuses(action: Callable[[], object]) -> float:
    try:
        action()
    except MaskError:
        return 0.0
    return math.inf
