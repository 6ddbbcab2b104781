"""SAIL-VOS and SAIL-VOS-cut annotations: COCO with videos, visible and amodal masks.

Whatever the kind, a track's `segmentations`, `areas` and `bboxes` are those of what is visible and
`amodal` are the whole masks. What the records have no place for is kept in `extra`, so that a file
read and written again in its kind is equal: `Track.extra["frames"]` has one dictionary per frame
(`bbox_amodal`, `area_amodal`, `bbox_visible`, ids), `Video.extra["images"]` one per image.
Source: spec vatrack sections 4.1 and 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidseg_common import rle
from vidseg_common.datasets.annotations import AnnotationSet, Clip, Problem, Track, Video
from vidseg_common.datasets.sailvos_file import SailvosFile, scan
from vidseg_common.datasets.sailvos_kinds import Kind, annotation_path, kind_of, kinds_root
from vidseg_common.datasets.sailvos_per_video import (
    read_per_video,
    without_hidden,
    write_per_video,
)
from vidseg_common.datasets.sailvos_results import read_results, validate_results, write_results
from vidseg_common.datasets.sailvos_writer import AnnotationWriter
from vidseg_common.errors import DatasetError, MaskError, list_problems
from vidseg_common.files import atomic_path

__all__ = [
    "CLASS_NAMES",
    "file_of",
    "read",
    "read_per_video",
    "read_results",
    "validate",
    "validate_results",
    "without_hidden",
    "write",
    "write_per_video",
    "write_results",
]

CLASS_NAMES = (
    *("person", "car", "motorcycle", "truck", "bird", "dog", "handbag", "suitcase", "bottle"),
    *("cup", "bowl", "chair", "potted plant", "bed", "dining table", "tv", "laptop"),
    *("cell phone", "bag", "bin", "box", "door", "road barrier", "stick"),
)
"""The 24 classes in the order of their ids, from 1."""

_TRACK_FIELDS = ("video_id", "category_id", "instance_id", "iscrowd", "occlude_rate")
_MASK_FIELDS = ("amodal_mask", "visible_mask", "area_visible")


def read(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    kind: str | None = None,
    bbox: str | None = None,
    progress: bool = False,
) -> AnnotationSet:
    """Reads an annotation file of any kind.

    The file is gone through once; annotations wait on disk, and the masks of one video at a time
    are looked at when it is loaded.

    Args:
        path: the JSON file, or the folder of the official tree that holds the kinds.
        images: folder of the frames, `<video>/images/<frame>.png` below it.
        split: "train" or "valid", for a folder; None takes "valid", or the only one there is.
        kind: "amodal", "visible" or "joint"; None to tell by the content.
        bbox: "amdl", "visb" or "both" for "joint".
        progress: show a bar on stderr.

    Raises:
        DatasetError: everything that is wrong in the file; for faults of masks when the video is
            loaded.
        UserError: there is no such kind.
    """
    file = scan(file_of(path, split, kind, bbox), _asked(kind, bbox), progress=progress)
    if file.problems:
        raise DatasetError(list_problems("not usable as SAIL-VOS:", map(str, file.problems)))
    return AnnotationSet(
        videos=file.videos,
        categories=file.categories,
        load=lambda position: _load(file, position),
        image_root=None if images is None else Path(images),
        has_annotations=file.has_annotations,
        info=file.info,
    )


def validate(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    kind: str | None = None,
    bbox: str | None = None,
    progress: bool = False,
) -> list[Problem]:
    """Lists everything that is wrong in an annotation file, masks and missing frames included.

    Args:
        path: as `read`.
        images: as `read`; None leaves out the check that every frame exists.
        split: as `read`.
        kind: as `read`.
        bbox: as `read`.
        progress: show a bar on stderr.
    """
    path = Path(path)
    try:
        path = file_of(path, split, kind, bbox)
        file = scan(path, _asked(kind, bbox), progress=progress)
    except DatasetError as error:
        return [Problem.of_file(path, error)]
    problems = list(file.problems)
    for position, video in enumerate(file.videos):
        _, found = _clip_of(file, position)
        problems += found
        if images is not None:
            missing = (name for name in video.file_names if not (Path(images) / name).is_file())
            problems += [
                Problem(path, f"video {video.id}", "file_name", f"no image {Path(images) / name}")
                for name in missing
            ]
    return problems


def _asked(kind: str | None, bbox: str | None) -> Kind | None:
    return None if kind is None and bbox is None else kind_of(kind or "joint", bbox)


def file_of(
    path: str | Path, split: str | None = None, kind: str | None = None, bbox: str | None = None
) -> Path:
    """The annotation file that is meant: the path itself, or one in the official tree.

    Args:
        path: the JSON file, the folder of the official tree that holds the kinds, or the folder
            around it.
        split: as `read`.
        kind: as `read`; None takes the only kind there is.
        bbox: as `read`.

    Raises:
        DatasetError: a folder without kinds, or with several where none was named.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    root = kinds_root(path)
    if root is None:
        raise DatasetError(f"{path} has no folder of annotations called amodal, visible or joint")
    there = [name for name in ("amodal", "visible", "joint") if (root / name).is_dir()]
    if kind is None and len(there) > 1:
        raise DatasetError(
            f"{path} has the kinds {', '.join(there)}: name one with --kind, or name the JSON file"
        )
    file = annotation_path(root, split or "valid", kind_of(kind or there[0], bbox))
    if file.is_file():
        return file
    # Where no split was named the only one is taken, of joint where the boxes are those wanted.
    boxes = file.stem.partition("(")[1:]
    patterns = [f"{split or '*'}{''.join(boxes)}.json"] + (
        [] if bbox else [f"{split or '*'}*.json"]
    )
    found = next((files for p in patterns if (files := sorted(file.parent.glob(p)))), [])
    if len(found) > 1:
        names = ", ".join(entry.name for entry in found)
        raise DatasetError(f"{file.parent} has the files {names}; name one")
    return found[0] if found else file


def _load(file: SailvosFile, position: int) -> Clip:
    clip, problems = _clip_of(file, position)
    if problems:
        raise DatasetError(list_problems("masks that cannot be used:", map(str, problems)))
    return clip


def _clip_of(file: SailvosFile, position: int) -> tuple[Clip, list[Problem]]:
    """Builds the tracks of a video; annotations whose masks have faults are left out."""
    video = file.videos[position]
    tracks: dict[int, Track] = {}
    problems: list[Problem] = []
    for frame, plain in file.annotations(position):
        try:
            masks = [_mask(plain, name, video) for name in ("visible_mask", "amodal_mask")]
        except MaskError as error:
            problems.append(Problem(file.path, f"annotation {plain['id']}", "", str(error)))
            continue
        track = tracks.setdefault(plain["instance_id"], _empty_track(plain, video.num_frames))
        _fill(track, frame, plain, masks)
    return Clip(video, list(tracks.values())), problems


def _mask(plain: Mapping[str, Any], name: str, video: Video) -> rle.RLE:
    """A checked mask with string counts, those of the file where it has them."""
    value = plain[name]
    if value["size"] != [video.height, video.width]:
        raise MaskError(f"{name}: size {value['size']}, the video has {video.height}x{video.width}")
    try:
        runs = rle.counts_of(value)
    except MaskError as error:
        raise MaskError(f"{name}: {error}") from None
    counts = value["counts"]
    text = counts if isinstance(counts, str) else rle.counts_to_string(runs)
    return {"size": value["size"], "counts": text}


def _empty_track(plain: Mapping[str, Any], length: int) -> Track:
    return Track(
        id=plain["instance_id"],
        category_id=plain["category_id"],
        segmentations=[None] * length,
        is_crowd=bool(plain.get("iscrowd", 0)),
        areas=[None] * length,
        bboxes=[None] * length,
        amodal=[None] * length,
        occlude_rates=[None] * length,
        extra={"frames": [None] * length},
    )


def _fill(track: Track, frame: int, plain: dict[str, Any], masks: list[rle.RLE]) -> None:
    visible, amodal = masks
    assert track.areas is not None and track.bboxes is not None
    assert track.amodal is not None and track.occlude_rates is not None
    # An object that is wholly hidden has no visible mask; the file says so with an empty one.
    is_hidden = plain["area_visible"] == 0 and rle.area(visible) == 0
    if not is_hidden:
        track.segmentations[frame] = visible
        track.areas[frame] = plain["area_visible"]
        track.bboxes[frame] = plain["bbox_visible"]
    track.amodal[frame] = amodal
    track.occlude_rates[frame] = plain["occlude_rate"]
    left = plain.keys() - {*_TRACK_FIELDS, *_MASK_FIELDS, "image_id"}
    track.extra["frames"][frame] = {name: plain[name] for name in plain if name in left}


def write(
    annotations: AnnotationSet,
    out: str | Path,
    *,
    split: str = "val",
    kind: str | None = None,
    bbox: str | None = None,
    progress: bool = False,
) -> list[str]:
    """Writes an annotation file of a kind, video by video.

    Boxes, areas and hidden shares that the records do not hold follow from the masks. Where there
    are no amodal masks the visible ones stand in.

    Args:
        annotations: any data set.
        out: the JSON file, or a folder, which then gets the official tree.
        split: "train" or "val", for a folder.
        kind: "amodal", "visible" or "joint"; None for the kind that was read, else "joint".
        bbox: "amdl", "visb" or "both" for "joint".
        progress: show a bar on stderr.

    Returns:
        What the format cannot hold, in words.

    Raises:
        UserError: there is no such kind.
    """
    source = annotations.info.get("sailvos_kind")
    wanted = _asked(kind, bbox) or kind_of(source or "joint")
    path = Path(out)
    if path.suffix != ".json":
        path = annotation_path(path, split, wanted)
    writer = AnnotationWriter(wanted, keep_invisible=(source or "").startswith("joint"))
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        writer.write(annotations, handle, progress=progress)
    return writer.warnings()
