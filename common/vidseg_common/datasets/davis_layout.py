"""Where the files of a split of DAVIS lie. Source: spec common sections 1.1 and 1.2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidseg_common.datasets.davis import (
    UNSUPERVISED_ANNOTATIONS,
    davis2016_names,
    davis2017_names,
)
from vidseg_common.datasets.records import list_folders
from vidseg_common.errors import DatasetError

__all__ = ["DAVIS_ANNOTATIONS", "DavisLayout", "davis_layout", "list_folders_of"]

DAVIS_ANNOTATIONS = {
    "davis2016": "Annotations",
    "davis2017": "Annotations",
    "davis2019": UNSUPERVISED_ANNOTATIONS,
}
"""Folder of the annotations of each form."""


@dataclass(frozen=True)
class DavisLayout:
    """The folders and sequences of a split.

    Attributes:
        masks: folder with one sub-folder of annotations per sequence.
        images: the same for images, None where there are none.
        names: the sequences.
        required: frames that must have an annotation: "all", "first" or "none".
    """

    masks: Path
    images: Path | None
    names: Sequence[str]
    required: str


def davis_layout(root: Path, form: str, split: str | None, resolution: str) -> DavisLayout:
    """Finds the folders and sequences of a split.

    Args:
        root: folder with Annotations and ImageSets.
        form: "davis2016", "davis2017" or "davis2019".
        split: name of its list; None takes "val", or the only list, or every sequence where
            there are no lists.
        resolution: folder; where there are no such annotations, the only one there is.

    Raises:
        DatasetError: there is no list, or it is not clear which.
    """
    masks = root / DAVIS_ANNOTATIONS[form]
    resolution = _resolution(masks, resolution)
    images = root / "JPEGImages" / resolution
    split = split or _only_split(root, form, resolution)
    if split is None:
        names = list_folders(masks / resolution)
    elif form == "davis2016":
        names = davis2016_names(root, split, resolution)
    else:
        names = davis2017_names(root, split, form == "davis2019")
    required = "all"
    if split is not None and split.startswith("test"):
        required = "none" if form == "davis2019" else "first"
    return DavisLayout(masks / resolution, images if images.is_dir() else None, names, required)


def _resolution(masks: Path, wanted: str) -> str:
    if (masks / wanted).is_dir() or not masks.is_dir():
        return wanted
    there = list_folders(masks)
    return there[0] if len(there) == 1 else wanted


def list_folders_of(form: str, split: str, resolution: str) -> tuple[str, ...]:
    """Folders of ImageSets that hold the list of a split."""
    if form == "davis2016":
        return ("2016", resolution)
    return ("2019" if form == "davis2019" and split.startswith("test") else "2017",)


def _only_split(root: Path, form: str, resolution: str) -> str | None:
    folders = {
        folder for split in ("val", "test") for folder in list_folders_of(form, split, resolution)
    }
    found = sorted({p.stem for name in folders for p in (root / "ImageSets" / name).glob("*.txt")})
    if "val" in found:
        return "val"
    if len(found) > 1:
        raise DatasetError(f"{root} has the splits {', '.join(found)}; name one")
    return next(iter(found), None)
