"""The converters of SAIL-VOS, from raw annotations to every kind. Source: spec vatrack 4.3."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2

from vidseg_common.datasets.sailvos_convert import json_script, sailvos2coco
from vidseg_common.datasets.sailvos_cut import sailvos2coco_cut
from vidseg_common.errors import UserError
from vidseg_common.parity.records import Check, read_arrays, read_json, same

_KINDS = {
    "json_script_amodal": ("amodal", None),
    "json_script_visible": ("visible", None),
    "json_script_joint_amdl": ("joint", "amdl"),
    "json_script_joint_visb": ("joint", "visb"),
    "json_script_joint_both": ("joint", "both"),
}
# Of the annotations of a kind only these were recorded.
_FIRST, _LAST = 12, 3
_SCRIPT_SOURCE = "sailvos2coco_cut_valid"


def check(kit: Path, case: dict[str, Any]) -> Iterator[Check]:
    """Runs the three steps on the recorded annotations and frames and compares every file."""
    want = read_json(_output(kit, case, "outputs", ".json"))
    raw = read_json(_output(kit, case, "inputs", ".json"))
    arrays = read_arrays(_output(kit, case, "inputs", ".npz"))
    with TemporaryDirectory(prefix="vidseg-parity-") as name:
        folder = Path(name)
        frames = folder / "frames"
        for file_name, frame in zip(arrays["names"], arrays["frames_bgr"], strict=True):
            (frames / str(file_name)).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(frames / str(file_name)), frame)
        for key in sorted(raw):
            split = key.removeprefix("raw_")
            (folder / f"{key}.json").write_text(json.dumps(raw[key]))
            coco, cut = folder / f"sailvos2coco_{split}.json", folder / f"cut_{split}.json"
            sailvos2coco(folder / f"{key}.json", coco)
            sailvos2coco_cut(coco, cut, frames=frames, transfer="move")
            cut.rename(folder / f"sailvos2coco_cut_{split}.json")
        for key, recorded in want.items():
            if key == "frames_after_cut":
                files = sorted(str(p.relative_to(frames)) for p in frames.rglob("*") if p.is_file())
                yield same(key, files, recorded)
            else:
                yield from _file(folder, key, recorded)


def _output(kit: Path, case: Mapping[str, Any], group: str, suffix: str) -> Path:
    for name in case.get(group, []):
        if str(name).endswith(suffix) and (kit / name).is_file():
            return kit / name
    raise UserError(f"case {case.get('name')}: the kit has no {suffix} file in {group}")


def _file(folder: Path, key: str, recorded: Mapping[str, Any]) -> Iterator[Check]:
    path = folder / f"{key}.json"
    if key in _KINDS:
        kind, bbox = _KINDS[key]
        json_script(folder / f"{_SCRIPT_SOURCE}.json", path, kind=kind, bbox=bbox)
    if not path.is_file():
        raise UserError(f"unknown recorded output {key!r}")
    got = read_json(path)
    if key in _KINDS:
        got["annotations"] = got["annotations"][:_FIRST] + got["annotations"][-_LAST:]
    yield same(f"{key}: keys", sorted(got), sorted(recorded))
    for name in recorded:
        yield same(f"{key}: {name}", got.get(name), recorded[name])
