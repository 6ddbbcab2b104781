"""Reads and checks the content of STEm-Seg's JSON files. Source: spec stemseg section 3."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vidseg_common import rle
from vidseg_common.datasets.annotations import Problem
from vidseg_common.datasets.json_stream import iter_entries
from vidseg_common.datasets.spool import Spool
from vidseg_common.errors import MaskError

Kind = Literal["video", "image"]

_KEYS: dict[str, Kind] = {"sequences": "video", "images": "image"}


@dataclass
class StemsegFile:
    """The content of one file; masks lie aside until they are asked for.

    Attributes:
        path: the file.
        kind: videos or images.
        meta: what the file says about itself.
        labels: class id, as text, to name.
        headers: every entry without its masks.
        has_masks: False for a test set.
        category_ids: the classes that occur.
        problems: what is wrong.
    """

    path: Path
    kind: Kind | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    headers: list[dict[str, Any]] = field(default_factory=list)
    has_masks: bool = True
    category_ids: set[int] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    _masks: Spool = field(default_factory=Spool)
    _seen: set[str] = field(default_factory=set)

    def annotations(self, position: int) -> dict[str, Any]:
        """Classes and masks of an entry, as in the file."""
        content: dict[str, Any] = self._masks[position]
        return content

    def frames(self) -> Iterator[tuple[str, str, tuple[int, int]]]:
        """Entry, image path and (H, W) of every frame whose entry is usable."""
        for position, header in enumerate(self.headers):
            if _is_size(header.get("height")) and _is_size(header.get("width")):
                size = (header["height"], header["width"])
                for name in _image_paths(header):
                    yield _where(header, position), name, size

    def label_problems(self) -> list[Problem]:
        """Classes that occur but have no name; no hindrance to reading."""
        unnamed = sorted(self.category_ids.difference(map(int, self.labels)))
        return [
            Problem(self.path, f"category {i}", "meta.category_labels", "has no name")
            for i in unnamed
        ]

    def note(self, where: str, name: str, message: str) -> None:
        """Adds a problem."""
        self.problems.append(Problem(self.path, where, name, message))


def scan(path: str | Path, kind: Kind | None = None, progress: bool = False) -> StemsegFile:
    """Reads a file to its end, noting all problems on the way.

    Args:
        path: the JSON file.
        kind: what it has to hold, None for either.
        progress: show a bar on stderr.

    Raises:
        DatasetError: the file is missing or no JSON.
    """
    content = StemsegFile(Path(path))
    for key, index, value in iter_entries(path, ("meta", *_KEYS), progress=progress):
        if key == "meta":
            _read_meta(content, value)
            continue
        if content.kind not in (None, _KEYS[key]):
            content.note("", key, "a file holds either sequences or images, not both")
            continue
        content.kind = _KEYS[key]
        if index is not None:
            _read_entry(content, value, index)
        elif value != []:
            content.note("", key, "expected a list")
    wanted = " or ".join(repr(key) for key, kind_of in _KEYS.items() if kind in (None, kind_of))
    if content.kind is None or kind not in (None, content.kind):
        content.note("", "", f"expected a list {wanted}")
    return content


def _read_meta(content: StemsegFile, value: Any) -> None:
    labels = value.get("category_labels") if isinstance(value, dict) else None
    if not isinstance(labels, dict):
        content.note("", "meta.category_labels", "expected an object of class ids and names")
        return
    content.meta = {key: item for key, item in value.items() if key != "category_labels"}
    for key, name in labels.items():
        if _is_id_text(key) and isinstance(name, str):
            content.labels[key] = name
        else:
            content.note("", "meta.category_labels", f"{key!r}: {name!r} is no class id and name")


def _read_entry(content: StemsegFile, entry: Any, index: int) -> None:
    if not isinstance(entry, dict):
        content.note(f"item {index + 1}", "", "expected an object")
        entry = {}
    parts = ("categories", "segmentations", "ignore")
    header = {key: value for key, value in entry.items() if key not in parts}
    content.headers.append(header)
    content._masks.append({key: entry[key] for key in parts if key in entry})
    where = _where(header, index)
    usable = _check_header(content, header, where)
    if index == 0:
        content.has_masks = "segmentations" in entry
    if content.has_masks != ("segmentations" in entry):
        state = "has" if content.has_masks else "has no"
        content.note(where, "segmentations", f"the first entry {state} masks, this one differs")
    elif content.has_masks and usable:
        check = _check_frames if content.kind == "video" else _check_instances
        check(content, entry, where)


def _where(header: Mapping[str, Any], index: int) -> str:
    if "id" in header:
        return f"sequence {header['id']}"
    return f"image {header['image_path']}" if "image_path" in header else f"item {index + 1}"


def _check_header(content: StemsegFile, header: Mapping[str, Any], where: str) -> bool:
    """Checks identity, size and images; True where masks can be checked."""
    num_problems = len(content.problems)
    name = "id" if content.kind == "video" else "image_path"
    kinds = (int, str) if content.kind == "video" else (str,)
    identity = header.get(name)
    if isinstance(identity, bool) or not isinstance(identity, kinds) or identity == "":
        content.note(where, name, f"expected {'a number or ' * len(kinds[1:])}a text")
    elif str(identity) in content._seen:
        content.note(where, name, "occurs twice")
    content._seen.add(str(identity))
    for side in ("height", "width"):
        if not _is_size(header.get(side)):
            content.note(where, side, f"expected pixels, not {header.get(side)!r}")
    paths = header.get("image_paths")
    if content.kind == "video" and (not paths or paths != _image_paths(header)):
        content.note(where, "image_paths", "expected a list of one path or more")
    return len(content.problems) == num_problems


def _image_paths(header: Mapping[str, Any]) -> list[str]:
    """Paths of an entry of either kind, as far as they are texts."""
    paths = header.get("image_paths", [header.get("image_path")])
    if not isinstance(paths, list):
        return []
    return [path for path in paths if isinstance(path, str) and path]


def _check_frames(content: StemsegFile, entry: Mapping[str, Any], where: str) -> None:
    categories, frames = entry.get("categories"), entry["segmentations"]
    if not isinstance(categories, dict):
        content.note(where, "categories", "expected an object of instance ids and class ids")
        return
    if not isinstance(frames, list) or len(frames) != len(entry["image_paths"]):
        length = len(entry["image_paths"])
        content.note(where, "segmentations", f"expected a list of {length}, one per frame")
        return
    for key, category_id in categories.items():
        _check_category(content, category_id, f"{where}, instance {key}")
    seen: set[str] = set()
    for t, frame in enumerate(frames):
        if not isinstance(frame, dict):
            content.note(f"{where}, frame {t}", "segmentations", "expected an object")
            continue
        seen.update(frame)
        for key, counts in frame.items():
            _check_mask(content, counts, entry, f"{where}, frame {t}, instance {key}")
    _check_ids(content, set(categories), seen, where)


def _check_ids(content: StemsegFile, listed: set[str], seen: set[str], where: str) -> None:
    """The ids over all frames are exactly those that have a class."""
    for key in sorted(listed | seen):
        if not _is_id_text(key):
            content.note(where, "categories", f"instance id {key!r} is no number")
        elif key not in seen:
            content.note(where, "segmentations", f"instance {key} is in no frame")
        elif key not in listed:
            content.note(where, "categories", f"instance {key} has no class")
    numbers = array("q", (int(key) for key in listed | seen if _is_id_text(key)))
    if len(set(numbers)) < len(numbers):
        content.note(where, "categories", "two instance ids are the same number")


def _check_instances(content: StemsegFile, entry: Mapping[str, Any], where: str) -> None:
    categories: Any = entry.get("categories")
    masks = entry["segmentations"]
    is_pair = isinstance(categories, list) and isinstance(masks, list)
    if not is_pair or len(categories) != len(masks):
        content.note(where, "categories", "expected lists of as many classes as segmentations")
        return
    for number, (category_id, counts) in enumerate(zip(categories, masks, strict=True), start=1):
        _check_category(content, category_id, f"{where}, instance {number}")
        _check_mask(content, counts, entry, f"{where}, instance {number}")
    if entry.get("ignore") is not None:
        _check_mask(content, entry["ignore"], entry, where, "ignore")


def _check_category(content: StemsegFile, value: Any, where: str) -> None:
    if _is_id_text(value) or (isinstance(value, int) and not isinstance(value, bool)):
        content.category_ids.add(int(value))
    else:
        content.note(where, "categories", f"expected a class id, not {value!r}")


def _check_mask(
    content: StemsegFile,
    counts: Any,
    entry: Mapping[str, Any],
    where: str,
    name: str = "segmentations",
) -> None:
    if not isinstance(counts, str):
        content.note(where, name, f"expected the text of run lengths, not {str(counts)[:40]}")
        return
    try:
        rle.counts_of({"size": [entry["height"], entry["width"]], "counts": counts})
    except MaskError as error:
        content.note(where, name, str(error))


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_id_text(value: Any) -> bool:
    return isinstance(value, str) and value.removeprefix("-").isdecimal() and value.isascii()
