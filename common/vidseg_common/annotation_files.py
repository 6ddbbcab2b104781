"""Where the one annotation file of a folder lies, and the images that it names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import ijson

_PLACES = ("*", "annotations/*", "*/*")
_MOST_FOLDERS = 200
_NAMES = (
    "videos.item.file_names.item",
    "images.item.file_name",
    "images.item.image_path",
    "sequences.item.image_paths.item",
)
_SMALL_FILE = 1 << 20


def annotation_files(folder: Path, suffix: str) -> list[Path]:
    """Annotation files of a folder: those in it, else in `annotations`, else one level below.

    Args:
        folder: root of a data set.
        suffix: such as ".json".
    """
    for place in _PLACES:
        found = sorted(path for path in folder.glob(f"{place}{suffix}") if not _is_other(path))
        if found:
            return found
    return []


def _is_other(path: Path) -> bool:
    """Whether a file tells of a data set but holds no annotations: meta.json, split.json."""
    if path.name in ("meta.json", "config.json") or path.name.startswith("."):
        return True
    if path.name != "split.json" or path.stat().st_size > _SMALL_FILE:
        return False
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(content, dict) and "split_of" in content


def find_images(file: Path) -> Path | None:
    """The folder near an annotation file that has the first image it names, None where none is.

    Args:
        file: a JSON file of any format.
    """
    name = _first_image(file)
    if name is None:
        return None
    return next((folder for folder in _folders_near(file) if (folder / name).is_file()), None)


def _first_image(file: Path) -> str | None:
    try:
        with file.open("rb") as handle:
            for prefix, _, value in ijson.parse(handle, use_float=True):
                if prefix in _NAMES and value:
                    return str(value)
    except (ijson.JSONError, UnicodeDecodeError, OSError):
        # The reader will say what is wrong with the file.
        return None
    return None


def _folders_near(file: Path) -> Iterator[Path]:
    """Folders that may hold the images: beside the file first, then up to two levels above."""
    for root in islice(file.resolve().parents, 3):
        yield from (root / "JPEGImages", root / "images", root)
        folders = (path for path in sorted(root.iterdir()) if path.is_dir())
        for folder in islice(folders, _MOST_FOLDERS):
            yield from (folder, folder / "JPEGImages")
