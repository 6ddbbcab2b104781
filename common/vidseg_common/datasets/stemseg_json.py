"""STEm-Seg's own JSON of video data sets and of image data sets. Source: spec stemseg section 3.

A file holds the text of run lengths alone; their size is that of the entry. `Video.extra["id"]`
keeps the id of a sequence as the file has it, a number or a text. The ignore region of
KITTI-MOTS is an ordinary object of class 3 here. Every function takes `kind`: "video" or "image".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from vidseg_common import rle
from vidseg_common.datasets.annotations import (
    AnnotationSet,
    Category,
    Clip,
    Problem,
    Track,
    Video,
)
from vidseg_common.datasets.image_frames import image_names, image_problem
from vidseg_common.datasets.stemseg_checks import Kind, StemsegFile, scan
from vidseg_common.datasets.stemseg_write import write
from vidseg_common.errors import DatasetError, list_problems
from vidseg_common.rle import RLE

__all__ = ["Kind", "read", "validate", "write"]


def read(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    progress: bool = False,
    kind: Kind | None = None,
) -> AnnotationSet:
    """Reads a file.

    A sequence keeps its number where all have one; otherwise, and for images, they count from 1.
    Objects of images count from 1 in every image. A test set, whose first entry has no
    `segmentations`, has no annotations.

    Args:
        path: the JSON file.
        images: folder that the image paths are relative to.
        split: not used, a file is one split.
        progress: show a bar on stderr.
        kind: what the file has to hold, None for either.

    Raises:
        DatasetError: the file is not of this format; all problems are listed.
    """
    del split
    content = scan(path, kind, progress)
    if content.problems:
        header = f"{path} is no STEm-Seg annotation file:"
        raise DatasetError(list_problems(header, map(str, content.problems)))
    videos = _videos(content) if content.kind == "video" else _images(content)
    clip_of = _video_clip if content.kind == "video" else _image_clip

    def load(position: int) -> Clip:
        if not content.has_masks:
            return Clip(videos[position], [], labelled=frozenset())
        return clip_of(videos[position], content.annotations(position))

    return AnnotationSet(
        videos=videos,
        categories=_categories(content),
        load=load,
        image_root=None if images is None else Path(images),
        has_annotations=content.has_masks,
        info=content.meta,
    )


def validate(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    progress: bool = False,
    kind: Kind | None = None,
) -> list[Problem]:
    """Lists everything wrong with a file.

    Args:
        path: the JSON file.
        images: folder of the images; checks that they are there and of the stated size.
        split: not used, a file is one split.
        progress: show a bar on stderr.
        kind: what the file has to hold, None for either.
    """
    del split
    try:
        content = scan(path, kind, progress)
    except DatasetError as error:
        return [Problem.of_file(Path(path), error)]
    problems = [*content.problems, *content.label_problems()]
    if images is not None:
        for where, name, size in content.frames():
            problem = image_problem(content.path, where, Path(images) / name, size)
            problems += [problem] if problem else []
    return problems


def _videos(content: StemsegFile) -> list[Video]:
    headers = content.headers
    numbered = all(isinstance(header["id"], int) for header in headers)
    return [
        Video(
            id=header["id"] if numbered else position,
            name=_name_of(header),
            height=header["height"],
            width=header["width"],
            file_names=tuple(header["image_paths"]),
            extra={"id": header["id"]},
        )
        for position, header in enumerate(headers, start=1)
    ]


def _name_of(header: Mapping[str, Any]) -> str:
    """Sequences with a number are called as the folder of their frames."""
    if isinstance(header["id"], str):
        return header["id"]
    return PurePosixPath(header["image_paths"][0]).parent.name or str(header["id"])


def _images(content: StemsegFile) -> list[Video]:
    paths = [header["image_path"] for header in content.headers]
    return [
        Video(position, name, header["height"], header["width"], (path,))
        for position, (name, path, header) in enumerate(
            zip(image_names(paths), paths, content.headers, strict=True), start=1
        )
    ]


def _categories(content: StemsegFile) -> list[Category]:
    """Named classes, then those that occur without a name."""
    named = {int(key): name for key, name in content.labels.items()}
    unnamed = dict.fromkeys(sorted(content.category_ids.difference(named)), "")
    return [Category(number, name) for number, name in {**named, **unnamed}.items()]


def _video_clip(video: Video, entry: Mapping[str, Any]) -> Clip:
    frames = entry["segmentations"]
    tracks = [
        Track(
            id=int(key),
            category_id=int(category_id),
            segmentations=[_mask(frame[key], video) if key in frame else None for frame in frames],
        )
        for key, category_id in entry["categories"].items()
    ]
    return Clip(video, tracks)


def _image_clip(video: Video, entry: Mapping[str, Any]) -> Clip:
    pairs = zip(entry["categories"], entry["segmentations"], strict=True)
    tracks = [
        Track(number, int(category_id), [_mask(counts, video)])
        for number, (category_id, counts) in enumerate(pairs, start=1)
    ]
    if entry.get("ignore") is None:
        return Clip(video, tracks)
    ignore = _mask(entry["ignore"], video)
    return Clip(video, tracks, ignore=[ignore if rle.area(ignore) else None])


def _mask(counts: str, video: Video) -> RLE:
    return {"size": [video.height, video.width], "counts": counts}
