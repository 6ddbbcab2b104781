"""COCO results: read beside the ground truth, or alone. Source: spec common section 1.6."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vidseg_common.datasets.annotations import AnnotationSet, Category, Problem, Video
from vidseg_common.datasets.coco_categories import COCO_CATEGORIES
from vidseg_common.datasets.coco_checks import are_finite, check_between, is_int, read_object
from vidseg_common.datasets.coco_file import CocoFile
from vidseg_common.datasets.json_stream import ROOT, iter_entries
from vidseg_common.errors import DatasetError


def read_results(
    path: str | Path,
    truth: AnnotationSet | None = None,
    *,
    progress: bool = False,
) -> AnnotationSet:
    """Reads results with masks, boxes or both. Tracks count from 1 in the order of the file.

    Args:
        path: the JSON file.
        truth: the images and classes; without it images are those that have a result, of the
            size that masks say (0 where there are only boxes), and classes those of COCO.
        progress: show a bar on stderr.

    Raises:
        DatasetError: the file cannot be used; all problems are listed.
    """
    categories = COCO_CATEGORIES if truth is None else truth.categories
    content = _scan(path, _sizes(truth), categories, progress=progress)
    content.raise_problems()
    if truth is not None:
        videos = list(truth.videos)
    else:
        videos = [
            Video(i, f"{i:012d}", e["height"], e["width"], (f"{i:012d}.jpg",))
            for i, e in content.images.items()
        ]
    root = None if truth is None else truth.image_root
    return content.annotation_set(videos, list(categories), root)


def validate_results(
    path: str | Path, truth: AnnotationSet | None = None, *, progress: bool = False
) -> list[Problem]:
    """Lists everything wrong or doubtful in a results file.

    Args:
        path: the JSON file.
        truth: the images and classes, where known.
        progress: show a bar on stderr.
    """
    categories = COCO_CATEGORIES if truth is None else truth.categories
    try:
        content = _scan(path, _sizes(truth), categories, thorough=True, progress=progress)
    except DatasetError as error:
        return [Problem.of_file(Path(path), error)]
    return [*content.problems, *content.remarks]


def _sizes(truth: AnnotationSet | None) -> dict[int, dict[str, int]] | None:
    if truth is None:
        return None
    longer = [video.name for video in truth.videos if video.num_frames != 1]
    if longer:
        raise DatasetError(f"COCO results are for images, but {longer[0]} is a video")
    return {video.id: {"height": video.height, "width": video.width} for video in truth.videos}


def _scan(
    path: str | Path,
    images: Mapping[int, Mapping[str, Any]] | None,
    categories: Iterable[Category],
    *,
    thorough: bool = False,
    progress: bool = False,
) -> CocoFile:
    """Reads a results file to its end, noting all problems on the way.

    Args:
        path: the JSON file, a list.
        images: image id to height and width; None takes what the masks say.
        categories: those allowed.
        thorough: also collect remarks.
        progress: show a bar on stderr.

    Raises:
        DatasetError: the file is missing or no JSON list.
    """
    content = CocoFile(Path(path), thorough, is_results=True, has_annotations=True)
    content.images = {number: dict(entry) for number, entry in (images or {}).items()}
    content.categories = {category.id: category for category in categories}
    for _, index, value in iter_entries(path, (ROOT,), progress=progress):
        if index is not None:
            _read_result(content, value, index + 1, open_world=images is None)
    check_between(content, "result")
    return content


def _read_result(content: CocoFile, entry: Any, number: int, *, open_world: bool) -> None:
    where = f"result {number}"
    if not isinstance(entry, dict):
        content.note(where, "", "expected an object")
        return
    image_id = entry.get("image_id")
    if not is_int(image_id):
        content.note(where, "image_id", f"expected a number, not {image_id!r}")
        return
    where = f"result {number} (image {image_id})"
    if open_world:
        _learn_size(content, image_id, entry.get("segmentation"))
    image = content.images.get(image_id)
    if image is None:
        content.note(where, "image_id", "the ground truth has no such image")
    if not are_finite([entry.get("score")]):
        content.note(where, "score", f"expected a finite number, not {entry.get('score')!r}")
        entry = {**entry, "score": math.nan}
    read_object(content, entry, where, number, image)


def _learn_size(content: CocoFile, image_id: int, mask: Any) -> None:
    size = mask.get("size") if isinstance(mask, dict) else None
    known = content.images.setdefault(image_id, {"height": 0, "width": 0})
    if not known["height"] and isinstance(size, list) and len(size) == 2 and all(map(is_int, size)):
        known["height"], known["width"] = size
