"""YouTube-VIS 2019, 2021 and OVIS: one JSON file with videos, categories and annotations.

Source: spec common section 1.4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from vidseg_common.datasets.annotations import AnnotationSet, Clip, Problem, Track, Video
from vidseg_common.datasets.category_names import category_faults
from vidseg_common.datasets.json_write import write_object
from vidseg_common.datasets.write_losses import WriteLosses
from vidseg_common.datasets.youtube_vis_entries import name_of_video
from vidseg_common.datasets.youtube_vis_loader import YoutubeVisLoader
from vidseg_common.datasets.youtube_vis_results import (
    check_track,
    read_results,
    validate_results,
    write_results,
)
from vidseg_common.errors import DatasetError
from vidseg_common.rle import RLE, area, counts_of, to_bbox

__all__ = ["read", "read_results", "validate", "validate_results", "write", "write_results"]


def read(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    progress: bool = False,
) -> AnnotationSet:
    """Reads a data set; a file without annotations gives its videos alone.

    The annotations of a video keep the order of the file, their ids and the numbers that the
    file states (`areas`, `bboxes`); the metric depends on them.

    Args:
        path: the JSON file.
        images: folder that the file names are relative to.
        split: no part of the format, whose splits are files.
        progress: show a bar on stderr.

    Raises:
        DatasetError: the file cannot be read or used; all errors are listed.
    """
    loader = YoutubeVisLoader(Path(path))
    loader.run(progress)
    loader.log.raise_errors("the file of annotations")
    return loader.annotation_set(None if images is None else Path(images))


def validate(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    progress: bool = False,
    benchmark: str | None = None,
) -> list[Problem]:
    """Lists everything that is wrong in a data set, and what other tools may stumble over.

    Args:
        path: the JSON file.
        images: folder of the images, each of which has to be there; None does not look.
        split: no part of the format, whose splits are files.
        progress: show a bar on stderr.
        benchmark: "ytvis2019", "ytvis2021" or "ovis", whose categories the file has to have
            unless it has a list of its own; None does not look.
    """
    loader = YoutubeVisLoader(Path(path))
    try:
        loader.run(progress)
    except DatasetError as error:
        loader.log.unreadable(error)
    else:
        categories = list(loader.categories.values())
        for fault in category_faults(benchmark, categories) if benchmark else ():
            loader.log.note(*fault)
    if images is not None:
        loader.note_missing_images(Path(images))
    return loader.log.problems


def write(
    annotations: AnnotationSet,
    out: str | Path,
    *,
    split: str = "val",
    progress: bool = False,
    counts: Literal["string", "list"] = "string",
) -> list[str]:
    """Writes a data set; areas and boxes that it does not state follow from the masks.

    Annotation ids have to differ over the whole file: a track keeps its id where it is free and
    gets the next free number otherwise.

    Args:
        annotations: what to write.
        out: the JSON file.
        split: no part of the format, whose splits are files.
        progress: show a bar on stderr.
        counts: form of the run lengths.

    Returns:
        What the format could not hold.

    Raises:
        DatasetError: ids of videos are not unique, or a track does not fit its video or has a
            category that the data set lacks.
        OSError: the file cannot be written.
    """
    _check_video_ids(annotations)
    losses = WriteLosses()
    info = dict(annotations.info)
    licenses = info.pop("licenses", [])
    entries = _annotation_entries(annotations, counts, losses, progress)
    parts = {
        "info": info,
        "licenses": licenses,
        "videos": (_video_entry(video) for video in annotations.videos),
        "categories": (vars(category) for category in annotations.categories),
        "annotations": entries if annotations.has_annotations else None,
    }
    write_object(out, parts)
    return losses.warnings()


def _check_video_ids(annotations: AnnotationSet) -> None:
    times = Counter(video.id for video in annotations.videos)
    twice = [str(number) for number, count in times.items() if count > 1]
    if twice:
        raise DatasetError(f"several videos have the id {', '.join(twice)}; ids must differ")


def _video_entry(video: Video) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": video.id,
        "width": video.width,
        "height": video.height,
        "length": video.num_frames,
        "file_names": list(video.file_names),
    }
    if video.name != name_of_video(video.id, video.file_names):
        entry["name"] = video.name
    return {**video.extra, **entry}


def _annotation_entries(
    annotations: AnnotationSet, counts: str, losses: WriteLosses, progress: bool
) -> Iterator[dict[str, Any]]:
    known = annotations.category_names()
    used: set[int] = set()
    next_free = 1
    bar = tqdm(
        annotations.clips(), total=len(annotations.videos), unit="video", disable=not progress
    )
    for clip in bar:
        _count_losses(clip, losses)
        for track in clip.tracks:
            check_track(track, clip.video)
            if track.category_id not in known:
                raise DatasetError(
                    f"video {clip.video.name}, track {track.id}: there is no category "
                    f"{track.category_id}"
                )
            number = next_free if track.id in used else track.id
            used.add(number)
            next_free = max(next_free, number + 1)
            yield _annotation_entry(track, number, clip.video, counts)


def _annotation_entry(track: Track, number: int, video: Video, counts: str) -> dict[str, Any]:
    masks = track.segmentations
    entry: dict[str, Any] = {
        "id": number,
        "video_id": video.id,
        "category_id": track.category_id,
        "iscrowd": int(track.is_crowd),
        "height": video.height,
        "width": video.width,
        "length": video.num_frames,
        "segmentations": [_with_list(m) if m and counts == "list" else m for m in masks],
        "areas": track.areas or [m and area(m) for m in masks],
        "bboxes": track.bboxes or [m and to_bbox(m) for m in masks],
    }
    if track.occlusion is not None:
        entry["occlusion"] = track.occlusion
    return {**track.extra, **entry}


def _with_list(mask: RLE) -> dict[str, Any]:
    return {"size": mask["size"], "counts": counts_of(mask).tolist()}


def _count_losses(clip: Clip, losses: WriteLosses) -> None:
    """Notes what annotations of this format have no place for."""
    tracks = clip.tracks
    losses.add("scores, left out", sum(track.score is not None for track in tracks))
    losses.add(
        "whole (amodal) masks of a track, left out", sum(t.amodal is not None for t in tracks)
    )
    rates = sum(track.occlude_rates is not None for track in tracks)
    losses.add("hidden shares of a track, left out", rates)
    regions = sum(region is not None for region in clip.ignore or ())
    losses.add("regions to ignore in a frame, left out", regions)
    if clip.labelled is not None:
        unknown = clip.video.num_frames - len(clip.labelled)
        losses.add("frames without annotation, written as frames without objects", unknown)
