"""Pascal VOC segmentation (VOC 2012): images of object numbers and of classes.

`ImageSets/Segmentation/SPLIT.txt` lists names, `SegmentationObject/NAME.png` holds object numbers
from 1 and `SegmentationClass/NAME.png` class ids 1..20, both with 255 for the border, which is
the ignore region. Images lie in `JPEGImages`. Source: spec stemseg sections 3.2 and 3.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
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
from vidseg_common.datasets.overlap import masks_of
from vidseg_common.datasets.records import read_name_list
from vidseg_common.datasets.write_losses import WriteLosses
from vidseg_common.errors import DatasetError, MaskError, list_problems
from vidseg_common.files import write_text
from vidseg_common.masks import VOID, read_indices, write_mask
from vidseg_common.rle import decode, encode

__all__ = ["PASCAL_VOC_CATEGORIES", "read", "validate", "write"]

PASCAL_VOC_CATEGORIES: tuple[Category, ...] = tuple(
    Category(number, name)
    for number, name in enumerate(
        (
            *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
            *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
            *("sheep", "sofa", "train", "tvmonitor"),
        ),
        start=1,
    )
)
"""The 20 classes in the order of their ids."""

_SPLITS = ("trainval", "train", "val", "test")
_CLASS_IDS = range(1, len(PASCAL_VOC_CATEGORIES) + 1)


@dataclass(frozen=True)
class _Tree:
    """Where the files of a data set lie; `images` is None where there is no such folder."""

    root: Path
    split: str
    images: Path | None

    @property
    def list_path(self) -> Path:
        return self.root / "ImageSets" / "Segmentation" / f"{self.split}.txt"

    @property
    def has_annotations(self) -> bool:
        """The annotations of the test split are not public."""
        return self.split != "test"

    def objects(self, name: str) -> Path:
        return self.root / "SegmentationObject" / f"{name}.png"

    def classes(self, name: str) -> Path:
        return self.root / "SegmentationClass" / f"{name}.png"

    def image(self, name: str) -> Path:
        return (self.images or self.root / "JPEGImages") / f"{name}.jpg"


def _tree(path: str | Path, images: str | Path | None, split: str | None) -> _Tree:
    """Finds the folder of the year and the split: by default the largest that is listed."""
    root = Path(path)
    for inner in ("VOCdevkit/VOC2012", "VOC2012"):
        root = root / inner if (root / inner).is_dir() else root
    listed = [s for s in _SPLITS if _Tree(root, s, None).list_path.is_file()]
    usual = root / "JPEGImages"
    folder = Path(images) if images is not None else (usual if usual.is_dir() else None)
    return _Tree(root, split or (listed[0] if listed else _SPLITS[0]), folder)


def read(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    progress: bool = False,
) -> AnnotationSet:
    """Reads a split; images are numbered from 1 in the order of its list.

    Args:
        path: folder with ImageSets, SegmentationObject and SegmentationClass, or one above it.
        images: folder of the images, `JPEGImages` beside them by default.
        split: "train", "val", "trainval" or "test" (which has no annotations); by default the
            largest that is listed.
        progress: show a bar on stderr.

    Raises:
        DatasetError: files are missing or do not fit; all are listed. What is wrong within a
            mask shows when its clip is loaded.
    """
    tree = _tree(path, images, split)
    names = read_name_list(tree.list_path)
    problems: list[Problem] = []
    videos = [
        _video(tree, name, number, problems)
        for number, name in enumerate(tqdm(names, disable=not progress, leave=False), start=1)
    ]
    _raise(tree, problems)

    def load(position: int) -> Clip:
        found: list[Problem] = []
        clip = _clip(tree, videos[position], found, [])
        _raise(tree, found)
        return clip

    return AnnotationSet(videos, PASCAL_VOC_CATEGORIES, load, tree.images, tree.has_annotations)


def validate(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    progress: bool = False,
) -> list[Problem]:
    """Lists everything wrong with a split, images included where their folder is known.

    Args:
        path: as in `read`.
        images: as in `read`.
        split: as in `read`.
        progress: show a bar on stderr.
    """
    tree = _tree(path, images, split)
    problems: list[Problem] = []
    try:
        names = read_name_list(tree.list_path)
    except DatasetError as error:
        return [Problem.of_file(tree.list_path, error)]
    for number, name in enumerate(tqdm(names, disable=not progress, leave=False), start=1):
        before = len(problems)
        video = _video(tree, name, number, problems)
        if len(problems) == before:
            _clip(tree, video, problems, problems)
        if tree.images is not None and video.height:
            size = (video.height, video.width)
            found = image_problem(tree.list_path, name, tree.image(name), size)
            problems += [found] if found else []
    return problems


def _raise(tree: _Tree, problems: Iterable[Problem]) -> None:
    texts = [str(problem) for problem in problems]
    if texts:
        raise DatasetError(list_problems(f"{tree.root} cannot be used:", texts))


def _video(tree: _Tree, name: str, number: int, problems: list[Problem]) -> Video:
    """Sizes come from the headers of the files."""
    parts = (tree.objects, tree.classes) if tree.has_annotations else (tree.image,)
    sizes: list[tuple[int, int]] = []
    for part in parts:
        try:
            sizes.append(image_size(part(name)))
        except DatasetError as error:
            problems.append(Problem(tree.list_path, name, "", str(error)))
    if len(set(sizes)) > 1:
        message = f"objects are {sizes[0]}, classes {sizes[1]} in size"
        problems.append(Problem(tree.classes(name), name, "", message))
    height, width = sizes[0] if sizes else (0, 0)
    return Video(number, name, height, width, (f"{name}.jpg",))


def _clip(tree: _Tree, video: Video, problems: list[Problem], remarks: list[Problem]) -> Clip:
    """Reads an image; a remark, unlike a problem, does not make it unusable."""
    if not tree.has_annotations:
        return Clip(video, [], labelled=frozenset())
    try:
        objects = read_indices(tree.objects(video.name))
        classes = read_indices(tree.classes(video.name))
    except MaskError as error:
        problems.append(Problem(tree.objects(video.name), video.name, "", str(error)))
        return Clip(video, [])
    file = tree.classes(video.name)
    tracks = []
    for number, mask in masks_of(np.where(objects == VOID, 0, objects)).items():
        category_id, message = _class_of(classes[objects == number])
        if message:
            target = remarks if category_id in _CLASS_IDS else problems
            target.append(Problem(file, f"object {number}", "class", message))
        tracks.append(Track(number, category_id, [mask]))
    void = (objects == VOID) | (classes == VOID)
    return Clip(video, tracks, ignore=[encode(void) if void.any() else None])


def _class_of(values: NDArray[np.uint8]) -> tuple[int, str]:
    """The class of most pixels of an object, and what is wrong: there should be no other."""
    counts = np.bincount(values, minlength=VOID + 1)
    counts[VOID] = 0
    present = [int(value) for value in np.flatnonzero(counts)]
    category_id = int(counts.argmax())
    if len(present) == 1 and category_id in _CLASS_IDS:
        return category_id, ""
    return category_id, f"expected one class of 1..{_CLASS_IDS[-1]}, not {present}"


def write(
    annotations: AnnotationSet, out: str | Path, *, split: str = "val", progress: bool = False
) -> list[str]:
    """Writes a data set; every frame of a video becomes an image. Classes go by their names.

    Crowds become part of the ignore region, which gets the value 255 outside of objects.

    Args:
        annotations: the data set.
        out: folder that gets ImageSets, SegmentationObject and SegmentationClass.
        split: name of the list.
        progress: show a bar on stderr.

    Returns:
        What could not be written, one line per kind.

    Raises:
        DatasetError: two images have one name.
        OSError: a file cannot be written.
    """
    data = frames_as_videos(annotations)
    tree = _Tree(Path(out), split, None)
    by_name = {category_key(category.name): category.id for category in PASCAL_VOC_CATEGORIES}
    class_ids = {c.id: by_name.get(category_key(c.name), 0) for c in data.categories}
    losses = WriteLosses()
    names: dict[str, None] = {}
    for clip in tqdm(data.clips(), total=len(data.videos), disable=not progress, leave=False):
        name = flat_name(clip.video, 0)
        if name in names:
            raise DatasetError(f"two images are called {name}")
        names[name] = None
        if data.has_annotations:
            _write_image(tree, name, clip, class_ids, losses)
    write_text(tree.list_path, "".join(f"{name}\n" for name in names))
    return losses.warnings()


def _write_image(
    tree: _Tree, name: str, clip: Clip, class_ids: dict[int, int], losses: WriteLosses
) -> None:
    note_unwritten(clip, losses)
    tracks = [t for t in shown_tracks(clip, 0, losses) if class_ids.get(t.category_id)]
    losses.add(
        "object of a class that Pascal VOC does not have was left out",
        sum(not class_ids.get(track.category_id) for track in clip.tracks),
    )
    losses.add("object beyond 254 of an image was left out", max(len(tracks) - VOID + 1, 0))
    tracks = tracks[: VOID - 1]
    numbers = _numbers(tracks)
    size = (clip.video.height, clip.video.width)
    objects = paint_frame(tracks, numbers, 0, size, losses)
    table = np.zeros(VOID + 1, np.uint8)
    table[numbers] = [class_ids[track.category_id] for track in tracks]
    table[VOID] = VOID
    region = ignore_region(clip, 0)
    if region is not None:
        objects[decode(region) & (objects == 0)] = VOID
    write_mask(tree.objects(name), objects)
    write_mask(tree.classes(name), table[objects])


def _numbers(tracks: list[Track]) -> list[int]:
    """The ids of the tracks where they fit, else 1, 2, ..."""
    ids = [track.id for track in tracks]
    fit = len(set(ids)) == len(ids) and all(0 < number < VOID for number in ids)
    return ids if fit else list(range(1, len(ids) + 1))
