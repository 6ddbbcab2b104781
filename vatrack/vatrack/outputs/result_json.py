"""Result files in JSON: the same tracks as in the pickle, video by video, for any other tool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vidseg_common.datasets.annotations import AnnotationSet, Clip, Track
from vidseg_common.datasets.json_stream import iter_items
from vidseg_common.datasets.json_write import write_object
from vidseg_common.datasets.sailvos_per_video import kind_of_results
from vidseg_common.datasets.spool import Spool
from vidseg_common.errors import DatasetError, MaskError, list_problems
from vidseg_common.rle import counts_of

#: Of a track, lists over its frames.
_LISTS = ("frames", "scores", "category_ids")
_KINDS = ("visible", "amodal")
_MOST_PROBLEMS = 20


def write_json_results(results: AnnotationSet, path: str | Path, facts: Mapping[str, Any]) -> None:
    """Writes tracks; only frames in which a track is seen have entries.

    Args:
        results: with `info["masks"]`.
        path: the .json file.
        facts: about the run.

    Raises:
        OSError: the file cannot be written.
    """
    parts = {
        "masks": kind_of_results(results),
        **facts,
        "categories": [vars(category) for category in results.categories],
        "videos": (_video(clip) for clip in results.clips()),
    }
    write_object(path, parts)


def _video(clip: Clip) -> dict[str, Any]:
    video = clip.video
    head = {"id": video.id, "name": video.name, "width": video.width, "height": video.height}
    return head | {"num_frames": video.num_frames, "tracks": [track_entry(t) for t in clip.tracks]}


def track_entry(track: Track) -> dict[str, Any]:
    """A track as JSON has it: lists over the frames in which it is seen."""
    scores = track.extra["frame_scores"]
    frames = [t for t, score in enumerate(scores) if score is not None]

    def of_frames(values: Any) -> list[Any]:
        return [values[t] for t in frames]

    entry = {
        "id": track.id,
        "category_id": track.category_id,
        "score": track.score,
        "frames": frames,
        "scores": of_frames(scores),
        "category_ids": of_frames(track.extra["frame_categories"]),
    }
    if track.bboxes is not None:
        entry["visible_bboxes"] = of_frames(track.bboxes)
        entry["visible_masks"] = of_frames(track.segmentations)
    if track.amodal is not None:
        entry["amodal_bboxes"] = of_frames(track.extra["bboxes_amodal"])
        entry["amodal_masks"] = of_frames(track.amodal)
    return entry


def read_json_results(path: str | Path, truth: AnnotationSet) -> AnnotationSet:
    """Reads tracks, in memory for one video.

    Args:
        path: the .json file.
        truth: the data set they are of.

    Raises:
        DatasetError: damaged, of another form or of other videos; the problems are listed.
    """
    path = Path(path)
    places = {video.id: i for i, video in enumerate(truth.videos)}
    known = {category.id for category in truth.categories}
    spool, rows, masks, problems = Spool(), {}, None, []
    for key, item in iter_items(path, ["masks", "videos"]):
        if key == "masks":
            masks = item
            continue
        place = places.get(item["id"]) if isinstance(item, dict) and "id" in item else None
        if place is None:
            found = item.get("id") if isinstance(item, dict) else item
            problems.append(f"video {found!r:.40} is not in the data set")
            continue
        problems += _problems(item, truth, place, known)
        rows[place] = spool.append(item)
    if masks not in (*_KINDS, "joint"):
        problems.append(f"masks: expected visible, amodal or joint, found {masks!r}")
    problems += [f"no video {v.id} ({v.name})" for i, v in enumerate(truth.videos) if i not in rows]
    if problems:
        raise DatasetError(list_problems(f"{path} cannot be used:", problems[:_MOST_PROBLEMS]))

    def load(position: int) -> Clip:
        video = truth.videos[position]
        tracks = spool[rows[position]]["tracks"]
        return Clip(video, [_read_track(entry, video.num_frames) for entry in tracks])

    return AnnotationSet(truth.videos, truth.categories, load, info={"masks": masks})


def _problems(
    item: Mapping[str, Any], truth: AnnotationSet, place: int, known: set[int]
) -> Iterator[str]:
    video = truth.videos[place]
    where = f"video {video.id} ({video.name})"
    if item.get("num_frames") != video.num_frames:
        yield f"{where}: num_frames {item.get('num_frames')}, the data set has {video.num_frames}"
        return
    for entry in item.get("tracks", ()):
        place_of = f"{where}, track {entry.get('id')}"
        count = len(entry.get("frames", ()))
        names = [f"{kind}_{what}" for kind in _KINDS for what in ("bboxes", "masks")]
        lists = [*_LISTS, *(name for name in names if name in entry)]
        wrong = [name for name in lists if len(entry.get(name, ())) != count]
        if wrong or not count:
            yield f"{place_of}: {', '.join(wrong) or 'frames'}: expected an entry per frame"
            continue
        outside = [t for t in entry["frames"] if not 0 <= t < video.num_frames]
        if outside:
            yield f"{place_of}: frames: {outside[0]} is outside 0..{video.num_frames - 1}"
        foreign = sorted({c for c in entry["category_ids"] if c not in known})
        if foreign:
            yield f"{place_of}: category_ids: {foreign[0]} is not in the data set"
        for name in (f"{kind}_masks" for kind in _KINDS):
            for mask in entry.get(name, ()):
                yield from _mask_problems(f"{place_of}, {name}", mask, video.height, video.width)


def _mask_problems(where: str, mask: Any, height: int, width: int) -> Iterator[str]:
    try:
        counts_of(mask)
    except MaskError as error:
        yield f"{where}: {error}"
        return
    if list(mask["size"]) != [height, width]:
        yield f"{where}: size {mask['size']}, its video has {[height, width]}"


def _read_track(entry: Mapping[str, Any], length: int) -> Track:
    def spread(name: str) -> list[Any] | None:
        if name not in entry:
            return None
        values: list[Any] = [None] * length
        for t, value in zip(entry["frames"], entry[name], strict=True):
            values[t] = value
        return values

    extra = {"frame_scores": spread("scores"), "frame_categories": spread("category_ids")}
    if "amodal_bboxes" in entry:
        extra["bboxes_amodal"] = spread("amodal_bboxes")
    return Track(
        id=entry["id"],
        category_id=entry["category_id"],
        segmentations=spread("visible_masks") or [None] * length,
        score=entry["score"],
        bboxes=spread("visible_bboxes"),
        amodal=spread("amodal_masks"),
        extra=extra,
    )
