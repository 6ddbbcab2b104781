"""Writes STEm-Seg's JSON. Source: spec stemseg section 3."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from tqdm import tqdm

from vidseg_common import rle
from vidseg_common.conversion import frames_as_videos
from vidseg_common.datasets.annotations import AnnotationSet, Clip, Track, Video
from vidseg_common.datasets.image_frames import BOX_ONLY, ignore_region, note_unwritten
from vidseg_common.datasets.json_write import write_object
from vidseg_common.datasets.stemseg_checks import Kind
from vidseg_common.datasets.write_losses import WriteLosses

Ids = Literal["auto", "number", "name"]

IGNORE_CATEGORY = 3
"""Class of the one object that stands for the ignore region in KITTI-MOTS."""

_IGNORE_NAME = "ignore"
_IGNORE_ID = 10000
_MOST_CLASSES_OF_NAMED_SETS = 3


def write(
    annotations: AnnotationSet,
    out: str | Path,
    *,
    split: str = "val",
    progress: bool = False,
    kind: Kind = "video",
    ids: Ids = "auto",
    image_prefix: str = "",
) -> list[str]:
    """Writes a data set as a file of videos or, every frame by itself, of images.

    Crowds become part of the ignore region. Images have a place for it; videos only where the
    classes are those of KITTI-MOTS, as one object of class 3, and elsewhere it is lost.

    Args:
        annotations: the data set.
        out: the JSON file.
        split: not used, a file is one split.
        progress: show a bar on stderr.
        kind: "video" or "image".
        ids: what identifies a sequence: its number (YouTube-VIS, whose results refer to it) or
            its name (DAVIS, KITTI-MOTS). "auto": `Video.extra["id"]` where there is one, else
            the name for data sets of up to three classes, else the number.
        image_prefix: put before the image paths, such as "train/JPEGImages".

    Returns:
        What could not be written, one line per kind.

    Raises:
        OSError: the file cannot be written.
    """
    del split
    data = annotations if kind == "video" else frames_as_videos(annotations)
    writer = _Writer(data, ids, PurePosixPath(image_prefix), WriteLosses())
    entry_of = writer.sequence if kind == "video" else writer.image
    clips = tqdm(data.clips(), total=len(data.videos), disable=not progress, leave=False)
    key = "sequences" if kind == "video" else "images"
    write_object(out, {"meta": writer.meta(kind), key: map(entry_of, clips)})
    return writer.losses.warnings()


class _Writer:
    """Turns clips into the entries of a file.

    Args:
        data: the data set.
        ids: what identifies a sequence.
        prefix: put before image paths.
        losses: told of what has no place.
    """

    def __init__(
        self, data: AnnotationSet, ids: Ids, prefix: PurePosixPath, losses: WriteLosses
    ) -> None:
        self.losses = losses
        self._data = data
        self._ids = ids
        self._prefix = prefix
        self._names = {c.id: c.name for c in data.categories if c.name}
        known = {name.lower() for name in self._names.values()}
        free = self._names.get(IGNORE_CATEGORY, _IGNORE_NAME) == _IGNORE_NAME
        self._holds_ignore = free and bool(known & {"car", "pedestrian"})

    def meta(self, kind: Kind) -> dict[str, Any]:
        """What the file says about itself."""
        labels = {str(number): name for number, name in self._names.items()}
        if kind == "video" and self._holds_ignore:
            labels.setdefault(str(IGNORE_CATEGORY), _IGNORE_NAME)
        return {"category_labels": labels}

    def sequence(self, clip: Clip) -> dict[str, Any]:
        """Entry of a video."""
        video = clip.video
        paths = [str(self._prefix / name) for name in video.file_names]
        entry = {"id": self._id_of(video), **_size(video), "image_paths": paths}
        if not self._data.has_annotations:
            return entry
        note_unwritten(clip, self.losses)
        if clip.labelled is not None:
            unknown = video.num_frames - len(clip.labelled)
            self.losses.add("frame without labels was written as one without objects", unknown)
        tracks = [track for track in clip.tracks if self._has_place(track)]
        tracks += self._ignore_track(clip, {track.id for track in tracks})
        return {
            **entry,
            "categories": {str(track.id): track.category_id for track in tracks},
            "segmentations": [_counts_by_id(tracks, t) for t in range(video.num_frames)],
        }

    def image(self, clip: Clip) -> dict[str, Any]:
        """Entry of an image."""
        path = str(self._prefix / clip.video.file_names[0])
        entry: dict[str, Any] = {"image_path": path, **_size(clip.video)}
        if not self._data.has_annotations:
            return entry
        note_unwritten(clip, self.losses)
        tracks = [track for track in clip.tracks if self._has_place(track)]
        crowds = sum(track.is_crowd for track in clip.tracks)
        self.losses.add("crowd became part of the ignore region", crowds)
        entry["categories"] = [track.category_id for track in tracks]
        entry["segmentations"] = list(_counts_by_id(tracks, 0).values())
        region = ignore_region(clip, 0)
        if region is None and clip.ignore is not None:
            region = rle.merge([], size=(clip.video.height, clip.video.width))
        if region is not None:
            entry["ignore"] = region["counts"]
        return entry

    def _id_of(self, video: Video) -> int | str:
        if self._ids == "auto" and "id" in video.extra:
            original: int | str = video.extra["id"]
            return original
        few = len(self._data.categories) <= _MOST_CLASSES_OF_NAMED_SETS
        by_name = few if self._ids == "auto" else self._ids == "name"
        return video.name if by_name else video.id

    def _has_place(self, track: Track) -> bool:
        """Crowds have none among the objects, nor has what is visible in no frame."""
        if track.is_crowd:
            return False
        if any(mask is not None for mask in track.segmentations):
            return True
        reason = "has a box but no mask" if track.extra.get(BOX_ONLY) else "is never visible"
        self.losses.add(f"object that {reason} was left out")
        return False

    def _ignore_track(self, clip: Clip, taken: set[int]) -> list[Track]:
        """The one object that stands for the ignore region, where there is any."""
        regions = [ignore_region(clip, t) for t in range(clip.video.num_frames)]
        if not any(regions):
            return []
        if not self._holds_ignore:
            self.losses.add("sequence lost its ignore region and crowds")
            return []
        number = _IGNORE_ID if _IGNORE_ID not in taken else max(taken) + 1
        return [Track(number, IGNORE_CATEGORY, regions)]


def _size(video: Video) -> dict[str, int]:
    return {"height": video.height, "width": video.width}


def _counts_by_id(tracks: Sequence[Track], frame_idx: int) -> dict[str, str]:
    masks = {str(track.id): track.segmentations[frame_idx] for track in tracks}
    return {key: mask["counts"] for key, mask in masks.items() if mask is not None}
