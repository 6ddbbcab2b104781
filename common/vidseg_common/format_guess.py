"""Tells the annotation format of a file or folder by what is in it.

Only as much is read as decides: the beginning of a JSON file, one mask of a folder.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ijson
from PIL import Image, UnidentifiedImageError

from vidseg_common.annotation_files import annotation_files
from vidseg_common.datasets.sailvos_kinds import kinds_root
from vidseg_common.errors import UserError

_OVIS_ONLY = {"category vehical", "category poultry"}
_NEWER_ONLY = {"category flying_disc", "category squirrel", "category whale"}
_MOTS_FIELDS = 6
_ENDS = (("videos", "end_array"), ("categories", "end_array"), ("annotations.item", "end_map"))


def guess_format(path: str | Path, *, is_results: bool = False) -> str:
    """Names the format of annotations or results.

    Args:
        path: a JSON file, a text file, or a folder.
        is_results: names the format of results where ground truth looks the same.

    Raises:
        UserError: nothing is there, or it looks like none of the formats.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"nothing at {path}")
    found = _of_folder(path) if path.is_dir() else _of_file(path)
    if found is None:
        raise UserError(f"{path} looks like no known format; name it (`vidseg formats` lists them)")
    return _AS_RESULTS.get(found, found) if is_results else found


_AS_RESULTS = {
    "davis2016": "davis-results",
    "davis2017": "davis-results",
    "mask-folder": "davis-results",
    "youtube-vos": "youtube-vos-results",
    "kitti-mots-txt": "kitti-mots-results",
    "kitti-mots-png": "kitti-mots-results",
}


def _of_file(path: Path) -> str | None:
    if path.suffix == ".txt":
        return "kitti-mots-txt" if _is_mots_line(path) else None
    if path.suffix == ".zip":
        return "ytvis-results"
    if path.suffix == ".pkl":
        return "sailvos-results"
    if path.suffix != ".json":
        return None
    faults: list[str] = []
    with path.open("rb") as file:
        found = _of_json(_up_to_fault(ijson.parse(file, use_float=True), faults))
    if found is None and faults:
        raise UserError(f"{path} is not valid JSON: {faults[0]}")
    return found


def _up_to_fault(
    events: Iterator[tuple[str, str, Any]], faults: list[str]
) -> Iterator[tuple[str, str, Any]]:
    """What comes before the first fault of a file: validation says what the faults are."""
    try:
        yield from events
    except (ijson.JSONError, UnicodeDecodeError) as error:
        faults.append(str(error).splitlines()[0])


def _is_mots_line(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        words = file.readline().split()
    return len(words) == _MOTS_FIELDS and all(word.isdigit() for word in words[:-1])


def _of_json(events: Iterator[tuple[str, str, Any]]) -> str | None:
    _, first, _ = next(events, ("", "", None))
    if first == "start_array":
        return _of_results(events)
    if first != "start_map":
        return None
    evidence: set[str] = set()
    for prefix, event, value in events:
        if event == "map_key":
            evidence.add(f"{prefix}.{value}".lstrip("."))
        elif prefix == "categories.item.name":
            evidence.add(f"category {value}".lower())
        elif (prefix, event) in _ENDS:
            evidence.add(f"{prefix} end")
        found = _of_evidence(evidence)
        if found:
            return found
    is_empty = "videos end" in evidence and "images" not in evidence
    if is_empty or "videos.item.file_names" in evidence:
        return _of_categories(evidence)
    return None


def _of_results(events: Iterator[tuple[str, str, Any]]) -> str:
    keys = {value for prefix, event, value in itertools.islice(events, 4000)
            if event == "map_key" and prefix == "item"}  # fmt: skip
    # An empty list is a valid, if poor, result of either kind; video results come first here.
    return "coco-results" if "image_id" in keys else "ytvis-results"


def _of_evidence(evidence: set[str]) -> str | None:
    """The format that the keys seen so far decide, None while they do not."""
    if "annotations.item.occlusion" in evidence:
        return "ovis"
    if "images.item.image_path" in evidence:
        return "stemseg-image"
    if "sequences" in evidence:
        return "stemseg-video"
    if evidence & {"images.item.frame_id", "annotations.item.occlude_rate"}:
        return "sailvos"
    if "annotations.item.image_id" in evidence and "videos" not in evidence:
        return "coco"
    if evidence >= {"videos.item.file_names", "categories end", "annotations.item end"}:
        return _of_categories(evidence)
    return None


def _of_categories(evidence: set[str]) -> str:
    """Which of the formats that differ in their categories alone."""
    if evidence & _OVIS_ONLY:
        return "ovis"
    return "ytvis2021" if evidence & _NEWER_ONLY else "ytvis2019"


def _of_folder(path: Path) -> str | None:
    signs = ("seqmaps", "*/gt/gt.txt", "*/seqinfo.ini", "MOTS-*/*/seqinfo.ini")
    if any(next(path.glob(sign), None) for sign in signs):
        return "mots-challenge"
    if (path / "SegmentationObject").is_dir():
        return "pascal-voc"
    if any((path / name).is_dir() for name in ("ImageSets",)):
        return _of_davis(path)
    if (path / "meta.json").is_file() or any(path.glob("*/meta.json")):
        return "youtube-vos"
    if any(path.glob("*/instances/*.png")) or any(path.glob("*/v*/instances/*.png")):
        return "mapillary"
    texts = sorted(path.glob("*.txt"))
    if texts and any(_is_mots_line(text) for text in texts):
        return "kitti-mots-txt"
    for name in ("instances_txt", "instances"):
        if (path / name).is_dir():
            return "kitti-mots-txt" if name == "instances_txt" else "kitti-mots-png"
    if kinds_root(path) is not None:
        return "sailvos"
    if any(path.glob("Annotations_unsupervised/*/*/*.png")):
        return "davis2019"
    mode = _mode_of(next(iter(sorted(path.glob("Annotations/*/*/*.png"))), None))
    if mode is not None:
        return "davis2017" if mode == "P" else "davis2016"
    masks = path / "Annotations" if (path / "Annotations").is_dir() else path
    mode = _mode_of(next(iter(sorted(masks.glob("*/*.png"))), None))
    if mode is not None:
        return "kitti-mots-png" if mode.startswith("I") else "mask-folder"
    return _of_only_json(path)


def _of_davis(path: Path) -> str:
    if (path / "Annotations_unsupervised").is_dir() and not (path / "Annotations").is_dir():
        return "davis2019"
    if (path / "ImageSets" / "2017").is_dir():
        return "davis2017"
    if (path / "ImageSets" / "2019").is_dir():
        return "davis2019"
    return "davis2016"


def _mode_of(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        with Image.open(path) as image:
            return image.mode
    except (UnidentifiedImageError, OSError):
        return None


def _of_only_json(path: Path) -> str | None:
    files = annotation_files(path, ".json")
    if len(files) > 1:
        names = ", ".join(str(file.relative_to(path)) for file in files[:5])
        raise UserError(f"{path} has several JSON files ({names}); name one")
    return _of_file(files[0]) if files else None
