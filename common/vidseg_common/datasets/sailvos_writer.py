"""Writes annotation sets as SAIL-VOS files of any kind. Source: spec vatrack section 4.1."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TextIO

from tqdm import tqdm

from vidseg_common import rle
from vidseg_common.datasets.annotations import AnnotationSet, Clip, Track, Video
from vidseg_common.datasets.sailvos_kinds import Kind, from_plain

__all__ = ["AnnotationWriter", "dump_lists"]


def dump_lists(handle: TextIO, content: Iterable[tuple[str, Any]]) -> None:
    """Writes an object key by key, lists and iterators item by item.

    Args:
        handle: the open file.
        content: keys in order, each with a value that `json` can write, or an iterator of those.
    """
    handle.write("{")
    for number, (key, value) in enumerate(content):
        handle.write(f"{',' if number else ''}\n{json.dumps(key)}: ")
        if not isinstance(value, (list, Iterator)):
            handle.write(json.dumps(value, ensure_ascii=False))
            continue
        handle.write("[")
        for position, item in enumerate(value):
            text = json.dumps(item, ensure_ascii=False)
            handle.write(f"{',' if position else ''}\n{text}")
        handle.write("]")
    handle.write("}\n")


class _Numbers:
    """Gives out ids: the wanted one where it is free, else the next free one from 1."""

    def __init__(self) -> None:
        self._used: set[int] = set()
        self._next = 1

    def take(self, wanted: int | None) -> int:
        if wanted is None or wanted in self._used:
            while self._next in self._used:
                self._next += 1
            wanted = self._next
        self._used.add(wanted)
        return wanted


class AnnotationWriter:
    """Turns clips into annotations of one kind.

    Args:
        kind: the kind to write.
        keep_invisible: write the invisible masks of joint files, which official files lack.
    """

    def __init__(self, kind: Kind, *, keep_invisible: bool = False) -> None:
        self._kind = kind
        self._keep_invisible = keep_invisible
        self._ids = _Numbers()
        self._lost: dict[str, int] = {}

    def write(self, annotations: AnnotationSet, handle: TextIO, *, progress: bool = False) -> None:
        """Writes the whole set, holding one video at a time."""
        image_ids = _image_ids(annotations.videos)
        content: dict[str, Any] = {
            key: annotations.info[key]
            for key in ("info", "licenses", "models")
            if key in annotations.info
        }
        content["categories"] = [vars(category) for category in annotations.categories]
        content["videos"] = [_video_entry(video) for video in annotations.videos]
        content["images"] = (
            entry
            for video, ids in zip(annotations.videos, image_ids, strict=True)
            for entry in _image_entries(video, ids)
        )
        if annotations.has_annotations:
            clips = tqdm(
                annotations.clips(), total=len(image_ids), disable=not progress, leave=False
            )
            content["annotations"] = (
                entry
                for clip, ids in zip(clips, image_ids, strict=True)
                for entry in self._entries(clip, ids)
            )
        dump_lists(handle, content.items())

    def warnings(self) -> list[str]:
        """What could not be kept so far."""
        return [f"{what} ({count} tracks or videos)" for what, count in self._lost.items()]

    def _lose(self, what: str) -> None:
        self._lost[what] = self._lost.get(what, 0) + 1

    def _entries(self, clip: Clip, image_ids: list[int]) -> Iterator[dict[str, Any]]:
        self._note_losses(clip)
        for frame, image_id in enumerate(image_ids):
            present = [track for track in clip.tracks if _is_present(track, frame)]
            # The order of the file, as far as the ids tell it.
            for track in sorted(present, key=partial(_stated_id, frame=frame)):
                plain = _plain(track, frame, clip.video)
                if self._kind.name != "joint" and "invisible_mask" not in plain:
                    plain["invisible_mask"] = _invisible(plain)
                if self._kind.name == "joint" and not self._keep_invisible:
                    plain.pop("invisible_mask", None)
                plain["id"] = self._ids.take(plain.get("id"))
                head = {"id": plain["id"], "video_id": clip.video.id, "image_id": image_id}
                yield from_plain(head | plain, self._kind)

    def _note_losses(self, clip: Clip) -> None:
        if clip.labelled is not None:
            self._lose("frames without labels are written as empty")
        if clip.ignore is not None and any(region is not None for region in clip.ignore):
            self._lose("ignore regions are left out")
        for track in clip.tracks:
            if track.score is not None:
                self._lose("scores of predictions are left out")
            if track.occlusion is not None:
                self._lose("occlusion levels are left out")
            if track.amodal is None:
                self._lose("no amodal masks: the visible masks stand in for them")


def _image_ids(videos: Iterable[Video]) -> list[list[int]]:
    numbers = _Numbers()
    stated = [video.extra.get("images", [{}] * video.num_frames) for video in videos]
    return [[numbers.take(image.get("id")) for image in images] for images in stated]


def _video_entry(video: Video) -> dict[str, Any]:
    left = {key: value for key, value in video.extra.items() if key != "images"}
    return {
        "id": video.id,
        "name": video.name,
        "width": video.width,
        "height": video.height,
        **left,
        "num_frames": video.num_frames,
    }


def _image_entries(video: Video, ids: list[int]) -> Iterator[dict[str, Any]]:
    stated = video.extra.get("images", [{}] * video.num_frames)
    for frame, (image_id, name) in enumerate(zip(ids, video.file_names, strict=True)):
        yield {
            **stated[frame],
            "id": image_id,
            "video_id": video.id,
            "file_name": name,
            "frame_id": frame,
            "width": video.width,
            "height": video.height,
        }


def _stated(track: Track, frame: int) -> dict[str, Any]:
    frames = track.extra.get("frames")
    return (frames[frame] if frames else None) or {}


def _stated_id(track: Track, frame: int) -> int:
    return int(_stated(track, frame).get("id", -1))


def _is_present(track: Track, frame: int) -> bool:
    amodal = track.amodal is not None and track.amodal[frame] is not None
    return amodal or track.segmentations[frame] is not None


def _plain(track: Track, frame: int, video: Video) -> dict[str, Any]:
    """The annotation by plain names; what the track does not state follows from its masks."""
    nothing = rle.RLE(
        size=[video.height, video.width],
        counts=rle.counts_to_string([video.height * video.width]),
    )
    visible = track.segmentations[frame] or nothing
    amodal = (track.amodal[frame] if track.amodal else None) or visible
    plain: dict[str, Any] = {
        **_stated(track, frame),
        "category_id": track.category_id,
        "instance_id": track.id,
        "iscrowd": int(track.is_crowd),
        "visible_mask": visible,
        "amodal_mask": amodal,
    }
    missing: list[tuple[str, Callable[[], Any]]] = [
        ("bbox_amodal", lambda: rle.to_bbox(amodal)),
        ("bbox_visible", lambda: rle.to_bbox(visible)),
        ("area_amodal", lambda: rle.area(amodal)),
    ]
    for name, compute in missing:
        if name not in plain:
            plain[name] = compute()
    area = track.areas[frame] if track.areas else None
    plain["area_visible"] = rle.area(visible) if area is None else area
    rate = track.occlude_rates[frame] if track.occlude_rates else None
    plain["occlude_rate"] = _hidden_share(plain) if rate is None else rate
    return plain


def _invisible(plain: dict[str, Any]) -> rle.RLE:
    visible = rle.decode(plain["visible_mask"])
    return rle.encode(rle.decode(plain["amodal_mask"]) & ~visible)


def _hidden_share(plain: dict[str, Any]) -> float:
    whole = plain["area_amodal"]
    return max(0.0, 1 - plain["area_visible"] / whole) if whole else 0.0
