"""Opening the files of a data set, with one clear error for whatever is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from devis.data.catalog import Entry, Kind
from vidseg_common.conversion import select_positions
from vidseg_common.datasets import coco, youtube_vis
from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.datasets.category_names import standard_categories, title_of
from vidseg_common.datasets.youtube_vis_lazy import open_annotations
from vidseg_common.errors import DatasetError, list_problems
from vidseg_common.video_images import read_image

#: Problems of one kind that are listed.
MOST_PROBLEMS = 10
#: Images that are looked for before a training begins; more take too long from afar.
MOST_LOOKED_FOR = 3000


@dataclass(frozen=True)
class OpenSet:
    """A data set.

    Attributes:
        file: the annotation file.
        images: folder that the names of its frames are relative to.
        data: its videos, or images as videos of one frame.
    """

    file: Path
    images: Path
    data: AnnotationSet


def open_set(
    kind: Kind,
    name: str,
    entry: Entry,
    root: Path,
    *,
    at_once: bool = True,
    progress: bool = False,
) -> OpenSet:
    """Opens a data set of the catalog.

    Args:
        kind: images or videos.
        name: of the data set, for messages.
        entry: see `devis.data.catalog.find`.
        root: the folder of all data sets.
        at_once: read and check all annotations of videos now rather than one by one.
        progress: show a bar on stderr.

    Raises:
        DatasetError: a file is missing or wrong, there is nothing in it, or it has classes that
            the data set of that name does not have; the first problems are listed.
    """
    file, images, left_out = root / entry.annotations, root / entry.images, frozenset[int]()
    if not file.is_file() and entry.whole and (root / entry.whole).is_file():
        file, left_out = root / entry.whole, frozenset(entry.left_out)
    if not file.is_file():
        raise DatasetError(
            f"{name}: no annotation file {file}; DATASETS.DATA_PATH ({root}) has to be the folder "
            "of all data sets"
        )
    try:
        if kind == "coco":
            data = coco.read(file, images=images, progress=progress)
        elif at_once:
            data = youtube_vis.read(file, images=images, progress=progress)
        else:
            data = open_annotations(file, images=images)
    except DatasetError as error:
        raise DatasetError(_shortened(str(error))) from error
    _check(file, name, data, entry, kind)
    if left_out:
        kept = [place for place, video in enumerate(data.videos) if video.id not in left_out]
        data = select_positions(data, kept)
    return OpenSet(file, images, data)


def _shortened(message: str) -> str:
    """The first problems of a file: a wrong one may have as many as there are annotations."""
    lines = message.splitlines()
    more = len(lines) - 1 - MOST_PROBLEMS
    told = [f"  - and {more} more; `vidseg validate` lists all"] if more > 0 else []
    return "\n".join([*lines[: MOST_PROBLEMS + 1], *told])


def _check(file: Path, name: str, data: AnnotationSet, entry: Entry, kind: Kind) -> None:
    if not data.videos:
        field = "images" if kind == "coco" else "videos"
        raise DatasetError(f"{file}: field {field}: expected at least one, found none")
    beyond = [c for c in data.categories if not 1 <= c.id <= entry.num_classes]
    if beyond:
        raise DatasetError(
            f"{file}: field categories: {name} has the numbers 1 to {entry.num_classes}, found "
            f"{beyond[0].id} ({beyond[0].name})"
        )
    found = title_of(data.categories)
    right = title_of(standard_categories(entry.categories)) if entry.categories else None
    if found and right and found != right:
        raise DatasetError(
            f"{file}: field categories: these are the categories of {found}, but {name} is "
            f"{right}; other numbers mean other classes"
        )


def with_annotations(data: AnnotationSet) -> AnnotationSet:
    """Images by ascending number; those without annotations are left out (spec 3.1)."""
    places = sorted(range(len(data.videos)), key=lambda place: data.videos[place].id)
    if data.has_annotations:
        places = [place for place in places if data.load(place).tracks]
    return select_positions(data, places)


def require_annotations(opened: OpenSet) -> None:
    """Refuses a set whose annotations are kept secret.

    Raises:
        DatasetError: there are none.
    """
    if not opened.data.has_annotations:
        raise DatasetError(
            f"{opened.file}: field annotations: missing, so there is nothing to train on"
        )


def check_exist(file: Path, folder: Path, names: Iterable[tuple[str, str]]) -> None:
    """Makes sure that images exist before anything is computed.

    Args:
        file: the annotation file.
        folder: of the images.
        names: what messages call an image, and its name in the folder.

    Raises:
        DatasetError: some do not; the first ones are listed.
    """
    missing = [
        f"{where}: no image {folder / name}"
        for where, name in names
        if not (folder / name).is_file()
    ]
    if missing:
        more = len(missing) - MOST_PROBLEMS
        shown = missing[:MOST_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
        title = f"{file}: {len(missing)} image(s) do not exist below {folder}:"
        raise DatasetError(list_problems(title, shown))


def load_image(path: Path, size: tuple[int, int], where: str) -> NDArray[np.uint8]:
    """Reads an image of a data set.

    Args:
        path: the file.
        size: height and width that the annotations state.
        where: what messages call it.

    Returns:
        (H, W, 3) in the order red, green, blue.

    Raises:
        DatasetError: missing, damaged, or of another size.
    """
    try:
        image = read_image(path)
    except ValueError as error:
        raise DatasetError(f"{where}: {error}") from error
    if image.shape[:2] != size:
        raise DatasetError(
            f"{where}: {path} has {image.shape[1]} x {image.shape[0]} pixels, the annotations say "
            f"{size[1]} x {size[0]}"
        )
    return image
