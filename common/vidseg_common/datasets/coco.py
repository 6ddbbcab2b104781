"""COCO instances and results: images as videos of one frame. Source: spec common section 1.6.

Ids, areas, boxes and crowd marks stay as in the file, masks of any form become compressed run
lengths when they are read. An object that has a box and no mask has `Track.extra["box_only"]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidseg_common.datasets.annotations import AnnotationSet, Problem, Video
from vidseg_common.datasets.coco_checks import scan
from vidseg_common.datasets.coco_results import read_results, validate_results
from vidseg_common.datasets.coco_write import write, write_results
from vidseg_common.datasets.image_frames import image_names, image_problem
from vidseg_common.errors import DatasetError

__all__ = ["read", "read_results", "validate", "validate_results", "write", "write_results"]

_VIDEO_FIELDS = {"id", "width", "height", "file_name"}


def read(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    progress: bool = False,
) -> AnnotationSet:
    """Reads an annotation file. The id of a video is that of the image, of a track its own.

    Args:
        path: the JSON file.
        images: folder of the images.
        split: not used, a file is one split.
        progress: show a bar on stderr.

    Raises:
        DatasetError: the file cannot be used; all problems are listed.
    """
    del split
    content = scan(path, progress=progress)
    content.raise_problems()
    names = image_names([entry["file_name"] for entry in content.images.values()])
    videos = [
        _video(name, entry) for name, entry in zip(names, content.images.values(), strict=True)
    ]
    root = None if images is None else Path(images)
    return content.annotation_set(videos, list(content.categories.values()), root)


def _video(name: str, entry: Mapping[str, Any]) -> Video:
    return Video(
        id=entry["id"],
        name=name,
        height=entry["height"],
        width=entry["width"],
        file_names=(entry["file_name"],),
        extra={key: value for key, value in entry.items() if key not in _VIDEO_FIELDS},
    )


def validate(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    progress: bool = False,
) -> list[Problem]:
    """Lists everything wrong or doubtful in an annotation file.

    Args:
        path: the JSON file.
        images: folder of the images; checks that they are there and of the stated size.
        split: not used, a file is one split.
        progress: show a bar on stderr.
    """
    del split
    try:
        content = scan(path, thorough=True, progress=progress)
    except DatasetError as error:
        return [Problem.of_file(Path(path), error)]
    problems = [*content.problems, *content.remarks]
    for number, entry in content.images.items() if images is not None else ():
        if entry["file_name"] and entry["height"] and entry["width"]:
            assert images is not None
            size = (entry["height"], entry["width"])
            image = Path(images) / entry["file_name"]
            found = image_problem(content.path, f"image {number}", image, size)
            problems += [found] if found else []
    return problems
