"""Writes COCO instances and results. Source: spec common section 1.6."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vidseg_common import rle
from vidseg_common.conversion import frames_as_videos
from vidseg_common.datasets.annotations import AnnotationSet, Clip, Track, Video
from vidseg_common.datasets.image_frames import BOX_ONLY, note_unwritten
from vidseg_common.datasets.json_write import write_list, write_object
from vidseg_common.datasets.write_losses import WriteLosses
from vidseg_common.errors import DatasetError
from vidseg_common.rle import RLE


def write(
    annotations: AnnotationSet, out: str | Path, *, split: str = "val", progress: bool = False
) -> list[str]:
    """Writes a data set; every frame of a video becomes an image.

    Masks are written as compressed run lengths, those of crowds as plain ones. Ids of tracks
    are kept where no earlier track of the file has the same.

    Args:
        annotations: the data set.
        out: the JSON file.
        split: not used, a file is one split.
        progress: show a bar on stderr.

    Returns:
        What could not be written, one line per kind.

    Raises:
        OSError: the file cannot be written.
    """
    del split
    data = frames_as_videos(annotations)
    losses = WriteLosses()
    info = dict(data.info)
    parts: dict[str, Any] = {"info": info, "licenses": info.pop("licenses", [])}
    parts["images"] = map(_image_entry, data.videos)
    if data.has_annotations:
        parts["annotations"] = _annotation_entries(data, losses, progress)
    parts["categories"] = [
        {"id": c.id, "name": c.name, "supercategory": c.supercategory} for c in data.categories
    ]
    write_object(out, parts)
    return losses.warnings()


def _image_entry(video: Video) -> dict[str, Any]:
    entry = {"id": video.id, "width": video.width, "height": video.height}
    return {**video.extra, **entry, "file_name": video.file_names[0]}


def _annotation_entries(
    data: AnnotationSet, losses: WriteLosses, progress: bool
) -> Iterator[dict[str, Any]]:
    taken: set[int] = set()
    last = 0
    for clip in tqdm(data.clips(), total=len(data.videos), disable=not progress, leave=False):
        note_unwritten(clip, losses)
        losses.add("image lost its ignore region", int(any(clip.ignore or ())))
        losses.add("image without labels was written as one without objects", int(_unknown(clip)))
        for track in _written(clip):
            number = last + 1 if track.id in taken or track.id < 0 else track.id
            taken.add(number)
            last = max(last, number)
            crowd = {"iscrowd": int(track.is_crowd), "area": _area(track)}
            extra = {key: value for key, value in track.extra.items() if key != BOX_ONLY}
            entry = _object_entry(clip.video, track, plain=track.is_crowd)
            yield {**extra, "id": number, **entry, **crowd}


def _unknown(clip: Clip) -> bool:
    return clip.labelled is not None and 0 not in clip.labelled


def _written(clip: Clip) -> list[Track]:
    return [track for track in clip.tracks if track.is_visible(0) or track.bboxes is not None]


def _object_entry(video: Video, track: Track, *, plain: bool = False) -> dict[str, Any]:
    entry = {"image_id": video.id, "category_id": track.category_id, "bbox": _box(track)}
    mask = track.segmentations[0]
    if mask is None:
        return entry
    counts = [int(count) for count in rle.counts_of(mask)] if plain else mask["counts"]
    return {**entry, "segmentation": {"size": list(mask["size"]), "counts": counts}}


def _box(track: Track) -> list[float]:
    stated = track.bboxes[0] if track.bboxes is not None else None
    return rle.to_bbox(_mask(track)) if stated is None else list(stated)


def _area(track: Track) -> float:
    stated = track.areas[0] if track.areas is not None else None
    if stated is not None:
        return stated
    if track.segmentations[0] is not None:
        return float(rle.area(_mask(track)))
    _, _, width, height = _box(track)
    return width * height


def _mask(track: Track) -> RLE:
    mask = track.segmentations[0]
    assert mask is not None, "an object without mask has a box"
    return mask


def write_results(
    annotations: AnnotationSet, out: str | Path, *, progress: bool = False
) -> list[str]:
    """Writes results with boxes, and with masks where there are any.

    Args:
        annotations: the results.
        out: the JSON file.
        progress: show a bar on stderr.

    Returns:
        What could not be written, one line per kind.

    Raises:
        DatasetError: a track has no score.
        OSError: the file cannot be written.
    """
    data = frames_as_videos(annotations)
    losses = WriteLosses()
    write_list(out, _result_entries(data, losses, progress))
    return losses.warnings()


def _result_entries(
    data: AnnotationSet, losses: WriteLosses, progress: bool
) -> Iterator[dict[str, Any]]:
    for clip in tqdm(data.clips(), total=len(data.videos), disable=not progress, leave=False):
        for track in _written(clip):
            if track.score is None:
                raise DatasetError(f"image {clip.video.id}: object {track.id} has no score")
            losses.add("crowd was written as a plain object", int(track.is_crowd))
            entry = _object_entry(clip.video, track)
            yield {**entry, "score": track.score}
