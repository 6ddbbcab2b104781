"""Mapillary Vistas 1.x: 16-bit images, label * 256 + number of the object.

`{training,validation}/instances/NAME.png` beside `images/NAME.jpg`; `config.json` at the top names
the labels. The id of a class is its label plus 1. Every region but "unlabeled" is read, also of
labels that are not divided into objects: `Track.extra["stuff"]` marks those, and
`Track.extra["instance"]` keeps the number. Source: spec stemseg section 3.3.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vidseg_common.conversion import category_key, frames_as_videos
from vidseg_common.datasets.annotations import (
    AnnotationSet,
    Category,
    Clip,
    Problem,
    Track,
    Video,
)
from vidseg_common.datasets.image_frames import (
    flat_name,
    ignore_region,
    image_problem,
    image_size,
    note_unwritten,
    paint_frame,
    shown_tracks,
)
from vidseg_common.datasets.mapillary_classes import LABELS, Label
from vidseg_common.datasets.mots_files import read_id_map, write_id_map
from vidseg_common.datasets.overlap import masks_of
from vidseg_common.datasets.records import list_images
from vidseg_common.datasets.write_losses import WriteLosses
from vidseg_common.errors import DatasetError, MaskError, list_problems
from vidseg_common.files import write_json

__all__ = ["MAPILLARY_CATEGORIES", "read", "validate", "write"]

_PER_LABEL = 256
_UNLABELED = "void--unlabeled"
_CONFIGS = ("config.json", "config_v1.2.json")
_SPLITS = {"train": "training", "val": "validation", "test": "testing"}


def _categories(labels: Sequence[Label]) -> tuple[Category, ...]:
    return tuple(
        Category(number, label.readable, label.name.rpartition("--")[0])
        for number, label in enumerate(labels, start=1)
    )


MAPILLARY_CATEGORIES = _categories(LABELS)
"""The 66 classes of version 1.x."""


@dataclass(frozen=True)
class _Tree:
    """Where the files of a split lie, and what its labels are."""

    root: Path
    split: str
    images: Path
    labels: tuple[Label, ...]

    @property
    def instances(self) -> Path:
        """Version 2.0 brings the annotations of 1.2 in a folder of their own."""
        inner = self.root / self.split / "v1.2" / "instances"
        return inner if inner.is_dir() else self.root / self.split / "instances"

    @property
    def has_annotations(self) -> bool:
        """The annotations of the test split are not public."""
        return self.split != "testing"

    def mask(self, name: str) -> Path:
        return self.instances / f"{name}.png"


def _tree(path: str | Path, images: str | Path | None, split: str | None) -> _Tree:
    """Finds the split; by default training, or validation where that is the only one."""
    root = Path(path)
    folder = _SPLITS.get(split or "", split)
    if folder is None:
        alone = not (root / "training").is_dir() and (root / "validation").is_dir()
        folder = "validation" if alone else "training"
    where = root / folder / "images" if images is None else Path(images)
    return _Tree(root, folder, where, _read_labels(root))


def _read_labels(root: Path) -> tuple[Label, ...]:
    """Labels of the configuration file, or those of version 1.x where there is none.

    Raises:
        DatasetError: the file is not of the known form.
    """
    found = [root / name for name in _CONFIGS if (root / name).is_file()]
    if not found:
        return LABELS
    try:
        entries = json.loads(found[0].read_text(encoding="utf-8"))["labels"]
        return tuple(
            Label(e["name"], e.get("readable", e["name"]), bool(e["instances"])) for e in entries
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{found[0]}: expected labels, each with name, readable and instances ({error!r})"
        ) from error


def read(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    progress: bool = False,
) -> AnnotationSet:
    """Reads a split; images are numbered from 1 in the order of their names.

    Args:
        path: folder with the splits and config.json.
        images: folder of the images, that of the split by default.
        split: "training", "validation" or "testing" (or "train", "val", "test"); by default
            "training" if it is there.
        progress: show a bar on stderr.

    Raises:
        DatasetError: files are missing or do not fit; all are listed. What is wrong within a
            mask shows when its clip is loaded.
    """
    tree = _tree(path, images, split)
    problems: list[Problem] = []
    videos = [
        _video(tree, name, number, problems)
        for number, name in enumerate(
            tqdm(_names(tree), disable=not progress, leave=False), start=1
        )
    ]
    _raise(tree, problems)

    def load(position: int) -> Clip:
        found: list[Problem] = []
        clip = _clip(tree, videos[position], found)
        _raise(tree, found)
        return clip

    root = tree.images if tree.images.is_dir() else None
    return AnnotationSet(videos, _categories(tree.labels), load, root, tree.has_annotations)


def validate(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    progress: bool = False,
) -> list[Problem]:
    """Lists everything wrong with a split, images included where their folder is there.

    Args:
        path: as in `read`.
        images: as in `read`.
        split: as in `read`.
        progress: show a bar on stderr.
    """
    try:
        tree = _tree(path, images, split)
        names = _names(tree)
    except DatasetError as error:
        return [Problem.of_file(Path(path), error)]
    problems = _unmatched_images(tree, names)
    for number, name in enumerate(tqdm(names, disable=not progress, leave=False), start=1):
        before = len(problems)
        video = _video(tree, name, number, problems)
        if len(problems) == before:
            _clip(tree, video, problems)
        if tree.images.is_dir() and video.height:
            image = tree.images / video.file_names[0]
            found = image_problem(tree.mask(name), name, image, (video.height, video.width))
            problems += [found] if found else []
    return problems


def _names(tree: _Tree) -> list[str]:
    folder = tree.instances if tree.has_annotations else tree.images
    names = [path.stem for path in list_images(folder)]
    if not names:
        raise DatasetError(f"no images in {folder}")
    return names


def _unmatched_images(tree: _Tree, names: Iterable[str]) -> list[Problem]:
    known = set(names)
    images = list_images(tree.images) if tree.images.is_dir() else ()
    return [
        Problem(path, path.stem, "", f"has no annotation {tree.mask(path.stem)}")
        for path in images
        if path.stem not in known
    ]


def _raise(tree: _Tree, problems: Iterable[Problem]) -> None:
    texts = [str(problem) for problem in problems]
    if texts:
        raise DatasetError(list_problems(f"{tree.root} cannot be used:", texts))


def _video(tree: _Tree, name: str, number: int, problems: list[Problem]) -> Video:
    """The size comes from the header of the file."""
    file = tree.mask(name) if tree.has_annotations else tree.images / f"{name}.jpg"
    height = width = 0
    try:
        height, width = image_size(file)
    except DatasetError as error:
        problems.append(Problem(file, name, "", str(error)))
    return Video(number, name, height, width, (f"{name}.jpg",))


def _clip(tree: _Tree, video: Video, problems: list[Problem]) -> Clip:
    if not tree.has_annotations:
        return Clip(video, [], labelled=frozenset())
    file = tree.mask(video.name)
    try:
        # Label 0, object 0 is a region like any other, so that 0 cannot stand for "nothing".
        masks = masks_of(read_id_map(file) + 1)
    except MaskError as error:
        problems.append(Problem(file, video.name, "", str(error)))
        return Clip(video, [])
    tracks: list[Track] = []
    for value, mask in masks.items():
        number, instance = divmod(value - 1, _PER_LABEL)
        if number >= len(tree.labels):
            message = f"label {number} is not among the {len(tree.labels)} of the data set"
            problems.append(Problem(file, f"object {instance}", "label", message))
        elif tree.labels[number].name != _UNLABELED:
            stuff = {} if tree.labels[number].has_instances else {"stuff": True}
            extra = {"instance": instance, **stuff}
            tracks.append(Track(len(tracks) + 1, number + 1, [mask], extra=extra))
    return Clip(video, tracks)


def write(
    annotations: AnnotationSet, out: str | Path, *, split: str = "val", progress: bool = False
) -> list[str]:
    """Writes a data set; every frame of a video becomes an image.

    Classes go by their names into those of version 1.x. What belongs to no object, the ignore
    region and crowds become "unlabeled".

    Args:
        annotations: the data set.
        out: folder that gets config.json and SPLIT/instances.
        split: "training", "validation", "train" or "val".
        progress: show a bar on stderr.

    Returns:
        What could not be written, one line per kind.

    Raises:
        DatasetError: two images have one name.
        OSError: a file cannot be written.
    """
    data = frames_as_videos(annotations)
    folder = Path(out) / _SPLITS.get(split, split) / "instances"
    known = {category_key(label.readable): i for i, label in enumerate(LABELS)}
    known |= {category_key(label.name.rpartition("--")[2]): i for i, label in enumerate(LABELS)}
    numbers = {c.id: known.get(category_key(c.name), -1) for c in data.categories}
    losses = WriteLosses()
    names: set[str] = set()
    for clip in tqdm(data.clips(), total=len(data.videos), disable=not progress, leave=False):
        name = flat_name(clip.video, 0)
        if name in names:
            raise DatasetError(f"two images are called {name}")
        names.add(name)
        if data.has_annotations:
            _write_image(folder / f"{name}.png", clip, numbers, losses)
    labels = [
        {"name": label.name, "readable": label.readable, "instances": label.has_instances}
        for label in LABELS
    ]
    write_json(Path(out) / "config.json", {"labels": labels, "version": "1.2"})
    return losses.warnings()


def _write_image(file: Path, clip: Clip, numbers: dict[int, int], losses: WriteLosses) -> None:
    note_unwritten(clip, losses)
    tracks = shown_tracks(clip, 0, losses)
    values = _values(tracks, numbers)
    losses.add("ignore region became unlabeled", int(ignore_region(clip, 0) is not None))
    kept = [(track, value) for track, value in zip(tracks, values, strict=True) if value >= 0]
    left_out = "object of a class that Vistas does not have, or beyond 256 of one, was left out"
    losses.add(left_out, len(tracks) - len(kept))
    size = (clip.video.height, clip.video.width)
    painted = paint_frame(
        [track for track, _ in kept], [value + 1 for _, value in kept], 0, size, losses
    )
    unlabeled = next(i for i, label in enumerate(LABELS) if label.name == _UNLABELED)
    write_id_map(file, np.where(painted == 0, unlabeled * _PER_LABEL, painted - 1))


def _values(tracks: Sequence[Track], numbers: dict[int, int]) -> list[int]:
    """Pixel value of each object, -1 for none: its own number where that is free in its label."""
    taken: set[int] = set()
    values: list[int] = []
    for track in tracks:
        label = numbers.get(track.category_id, -1)
        first = label * _PER_LABEL
        wanted = first + track.extra.get("instance", 0)
        free = (v for v in (wanted, *range(first, first + _PER_LABEL)) if v not in taken)
        value = next(free, -1) if label >= 0 else -1
        taken.add(value)
        values.append(value)
    return values
