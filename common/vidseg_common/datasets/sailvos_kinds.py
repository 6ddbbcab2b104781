"""The annotation kinds of SAIL-VOS: which field holds which mask, box and area.

Between reading and writing an annotation is *plain*: `amodal_mask`, `visible_mask`,
`bbox_amodal`, `bbox_visible`, `area_amodal` and `area_visible` by their own names, whatever the
kind, beside all fields that the kinds share. Source: spec vatrack section 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidseg_common.errors import UserError

__all__ = [
    "AMODAL",
    "KINDS",
    "VISIBLE",
    "Kind",
    "annotation_path",
    "detect_kind",
    "field_faults",
    "from_plain",
    "kind_of",
    "kinds_root",
    "to_plain",
]

_INTEGERS = ("id", "video_id", "image_id", "category_id", "instance_id")
_PLAIN_MASKS = ("amodal_mask", "visible_mask")
_PLAIN_BOXES = ("bbox_amodal", "bbox_visible")
_PLAIN_AREAS = ("area_amodal", "area_visible")
_AMODAL_NAMES = {"amodal_mask": "segmentation", "bbox_amodal": "bbox", "area_amodal": "area"}
Fault = tuple[str, str]
"""Name of a field, and what is wrong with it."""


@dataclass(frozen=True)
class Kind:
    """One kind of annotation file.

    Attributes:
        name: "amodal", "visible" or "joint".
        bbox: what `bbox` holds in a joint file: "amdl", "visb" or "both"; "" for the others.
    """

    name: str
    bbox: str = ""

    def __str__(self) -> str:
        return f"{self.name}(bbox={self.bbox}_bbox)" if self.bbox else self.name

    @property
    def main_box(self) -> str:
        """Plain name of the (first) box in `bbox`."""
        return "bbox_visible" if self.name == "visible" or self.bbox == "visb" else "bbox_amodal"


AMODAL = Kind("amodal")
VISIBLE = Kind("visible")
KINDS = (AMODAL, VISIBLE, Kind("joint", "amdl"), Kind("joint", "visb"), Kind("joint", "both"))


def kind_of(name: str, bbox: str | None = None) -> Kind:
    """Makes a kind of what a user gave.

    Args:
        name: "amodal", "visible" or "joint"; also the written form, "joint(bbox=both_bbox)".
        bbox: "amdl", "visb" or "both", only for "joint"; None for "amdl".

    Raises:
        UserError: there is no such kind.
    """
    for kind in KINDS:
        default = "amdl" if name == "joint" else ""
        if name == str(kind) and bbox in (None, kind.bbox):
            return kind
        if (name, default if bbox is None else bbox) == (kind.name, kind.bbox):
            return kind
    asked = name if bbox is None else f"{name} with bbox={bbox}"
    raise UserError(
        f"no SAIL-VOS annotation kind {asked!r}: expected amodal, visible, or joint with "
        "bbox=amdl, visb or both"
    )


def annotation_path(root: str | Path, split: str, kind: Kind) -> Path:
    """Where the official tree keeps a file: `KIND/SPLIT.json`, joint with the kind of its boxes.

    Args:
        root: folder such as `sailvos_cut_json`.
        split: "train" or "valid" ("val" means the same).
        kind: the kind.
    """
    name = "valid" if split == "val" else split
    return Path(root) / kind.name / f"{name}{str(kind).removeprefix(kind.name)}.json"


def kinds_root(path: Path) -> Path | None:
    """The folder that holds the kinds, such as `sailvos_cut_json`: this one, or one below it.

    Args:
        path: an existing folder.

    Returns:
        None where there is no such folder, or several.
    """
    below = (folder for folder in sorted(path.iterdir()) if folder.is_dir())
    if _holds_kinds(path):
        return path
    found = [folder for folder in below if _holds_kinds(folder)]
    return found[0] if len(found) == 1 else None


def _holds_kinds(folder: Path) -> bool:
    names = {kind.name for kind in KINDS}
    return any(next((folder / name).glob("*.json"), None) is not None for name in names)


def detect_kind(annotation: Mapping[str, Any]) -> Kind:
    """Tells the kind of a file from one of its annotations."""
    if not isinstance(annotation.get("segmentation"), list):
        return VISIBLE if "amodal_mask" in annotation else AMODAL
    box = annotation.get("bbox")
    if isinstance(box, list) and box and isinstance(box[0], list):
        return Kind("joint", "both")
    return Kind("joint", "visb" if "bbox_amodal" in annotation else "amdl")


def to_plain(annotation: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """Renames the fields of a kind to the plain ones; what is missing stays missing."""
    plain = dict(annotation)
    mask, box = plain.pop("segmentation", None), plain.pop("bbox", None)
    area = plain.pop("area", None)
    found: dict[str, Any] = {}
    if kind.name == "joint":
        pair = mask if isinstance(mask, list) and len(mask) == 2 else (None, None)
        found = dict(zip(_PLAIN_MASKS, pair, strict=True))
        if kind.bbox == "both":
            boxes = box if isinstance(box, list) and len(box) == 2 else (None, None)
            found |= dict(zip(_PLAIN_BOXES, boxes, strict=True))
    else:
        found = {f"{kind.name}_mask": mask, f"area_{kind.name}": area}
    if kind.bbox != "both":
        found[kind.main_box] = box
    return plain | {name: value for name, value in found.items() if value is not None}


def from_plain(plain: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """Arranges the plain fields as a kind has them; the inverse of `to_plain`."""
    out = dict(plain)
    if kind.name == "amodal":
        out["segmentation"] = out.pop("amodal_mask")
        out["area"] = out.pop("area_amodal")
        out["bbox"] = out.pop("bbox_amodal")
    elif kind.name == "visible":
        out["segmentation"], out["area"] = out["visible_mask"], out["area_visible"]
        out["bbox"] = out["bbox_visible"]
    else:
        out["segmentation"] = [out["amodal_mask"], out["visible_mask"]]
        boxes = [out["bbox_amodal"], out["bbox_visible"]]
        out["bbox"] = boxes if kind.bbox == "both" else out[kind.main_box]
        if kind.bbox == "amdl":
            del out["bbox_amodal"]
    return out


def field_faults(annotation: Mapping[str, Any], kind: Kind) -> Iterator[Fault]:
    """Finds what is missing or malformed in one annotation; the runs of masks are not looked at.

    Args:
        annotation: as the file has it.
        kind: the kind of the file.
    """
    plain = to_plain(annotation, kind)
    expected: list[tuple[Iterable[str], str, Callable[[Any], bool]]] = [
        (_INTEGERS, "a whole number", _is_integer),
        (["iscrowd"], "0 or 1", lambda value: value in (0, 1)),
        (["occlude_rate"], "a number in 0..1", lambda value: _is_number(value) and 0 <= value <= 1),
        (_PLAIN_MASKS, "an RLE {size: [H, W], counts}", _is_rle),
        (_PLAIN_BOXES, "a box [x, y, w, h]", _is_box),
        (_PLAIN_AREAS, "a number of pixels", lambda value: _is_number(value) and value >= 0),
    ]
    for names, what, is_good in expected:
        for name in names:
            if not is_good(plain.get(name)):
                found = f"found {plain[name]!r:.60}" if name in plain else "it is missing"
                field = _AMODAL_NAMES.get(name, name) if kind == AMODAL else name
                yield field, f"expected {what}, {found}"
    yield from _layout_faults(annotation, plain, kind)


def _layout_faults(
    annotation: Mapping[str, Any], plain: Mapping[str, Any], kind: Kind
) -> Iterator[Fault]:
    """Looks at the fields by which kinds differ, and at what a kind holds twice."""
    if kind.name == "joint" and not _is_pair(annotation.get("segmentation")):
        yield "segmentation", "expected the two masks [amodal, visible] of a joint file"
    if kind.bbox == "both" and not _is_pair(annotation.get("bbox")):
        yield "bbox", "expected the two boxes [amodal, visible]"
    if kind == VISIBLE or kind.bbox in ("amdl", "visb"):
        wanted = ("segmentation", "bbox", "area") if kind == VISIBLE else ("bbox",)
        yield from ((name, "it is missing") for name in wanted if name not in annotation)
    for name in (*_PLAIN_MASKS, *_PLAIN_BOXES, *_PLAIN_AREAS):
        if name in annotation and annotation[name] != plain.get(name):
            yield name, "differs from the same thing in segmentation, bbox or area"


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_box(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
        return False
    return value[2] >= 0 and value[3] >= 0


def _is_rle(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("counts"), (str, list)):
        return False
    size = value.get("size")
    return isinstance(size, list) and len(size) == 2 and all(map(_is_integer, size))
