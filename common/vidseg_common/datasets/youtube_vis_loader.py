"""Reads a YouTube-VIS or OVIS file in one pass, with everything that is wrong in it.

Masks become compressed strings at once and wait on disk, so that memory does not grow with the
file. Source: spec common section 1.4.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from vidseg_common.datasets.annotations import AnnotationSet, Category, Clip, Video
from vidseg_common.datasets.category_names import title_of
from vidseg_common.datasets.json_stream import JsonEntry, iter_entries
from vidseg_common.datasets.problem_log import ProblemLog
from vidseg_common.datasets.spool import TrackSpool
from vidseg_common.datasets.youtube_vis_entries import (
    parse_category,
    parse_track,
    parse_video,
    take_id,
)

__all__ = ["YoutubeVisLoader", "with_unique_names"]

_HEADER_KEYS = ("info", "licenses", "videos", "categories")
_ANNOTATION_KEY = "annotations"


class YoutubeVisLoader:
    """What has been read of one file.

    Args:
        path: the JSON file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = ProblemLog(path)
        self.videos: dict[int, Video] = {}
        self.categories: dict[int, Category] = {}
        self.info: dict[str, Any] = {}
        self.has_annotations = False
        self._present: set[str] = set()
        self._unusable: set[int] = set()
        self._track_ids: set[int] = set()
        self._tracks = TrackSpool()
        self._positions: dict[int, list[int]] = {}

    def run(self, progress: bool) -> None:
        """Reads the file; a second time where annotations come before what they refer to."""
        is_late = False
        for entry in iter_entries(self.path, (*_HEADER_KEYS, _ANNOTATION_KEY), progress=progress):
            if entry.key != _ANNOTATION_KEY:
                self.take_header(entry)
            elif {"videos", "categories"} <= self._present:
                self._take_annotation(entry)
            else:
                is_late = True
        for key in ("videos", "categories"):
            if key not in self._present:
                self.log.error("", key, "missing; the file is not one of YouTube-VIS or OVIS")
        if is_late:
            for entry in iter_entries(self.path, (_ANNOTATION_KEY,), progress=progress):
                self._take_annotation(entry)

    def annotation_set(self, image_root: Path | None) -> AnnotationSet:
        """The data set, whose tracks are fetched from disk."""
        videos = with_unique_names(list(self.videos.values()))
        positions = [self._positions.get(video.id, []) for video in videos]

        def load(i: int) -> Clip:
            return Clip(videos[i], [self._tracks[position] for position in positions[i]])

        return AnnotationSet(
            videos=videos,
            categories=list(self.categories.values()),
            load=load,
            image_root=image_root,
            has_annotations=self.has_annotations,
            info=self.info,
        )

    def note_missing_images(self, root: Path) -> None:
        """Adds an error for every image that is not there."""
        if not root.is_dir():
            self.log.error("", "file_names", f"the folder of images is missing: {root}")
            return
        for video in self.videos.values():
            for frame_idx, name in enumerate(video.file_names):
                if not (root / name).is_file():
                    where = f"video {video.id}, frame {frame_idx}"
                    self.log.error(where, "file_names", f"the image is missing: {root / name}")

    def take_header(self, entry: JsonEntry) -> None:
        """Reads a video, a category or a part of what the file says about itself."""
        self._present.add(entry.key)
        if entry.key == "info":
            if isinstance(entry.value, dict):
                self.info.update(entry.value)
        elif entry.key == "licenses":
            if entry.position is not None:
                self.info.setdefault("licenses", []).append(entry.value)
        elif entry.position is None:
            if entry.value != []:
                self.log.error("", entry.key, f"expected a list, found {entry.value!r:.40}")
        elif entry.key == "videos":
            self._take_video(entry)
        else:
            self._take_category(entry)

    def _take_video(self, entry: JsonEntry) -> None:
        where = f"item {entry.position} of videos"
        number = take_id(entry.value, where, self.videos.keys() | self._unusable, self.log)
        if number is None:
            return
        video = parse_video(entry.value, number, self.log)
        if video is None:
            self._unusable.add(number)
        else:
            self.videos[number] = video

    def _take_category(self, entry: JsonEntry) -> None:
        where = f"item {entry.position} of categories"
        number = take_id(entry.value, where, self.categories, self.log)
        if number is None:
            return
        category = parse_category(entry.value, number, self.log)
        if any(category.name == other.name for other in self.categories.values()):
            self.log.note(f"category {number}", "name", f"{category.name!r} is used twice")
        self.categories[number] = category

    def _take_annotation(self, entry: JsonEntry) -> None:
        if entry.position is None:
            self.has_annotations = entry.value is not None
            if entry.value not in (None, []):
                self.log.error("", entry.key, f"expected a list or null, found {entry.value!r:.40}")
            return
        self.has_annotations = True
        where = f"item {entry.position} of annotations"
        number = take_id(entry.value, where, self._track_ids, self.log)
        given = entry.value.get("id") if isinstance(entry.value, dict) else None
        if type(given) is not int:
            return
        self._track_ids.add(given)
        video, is_category = self._references_of(entry.value, f"annotation {given}")
        if video is None:
            return
        # What cannot be used is looked at as well, so that all that is wrong is told at once.
        track = parse_track(entry.value, given, video, self.log)
        if track is not None and is_category and number is not None:
            self._positions.setdefault(video.id, []).append(self._tracks.append(track))

    def _references_of(self, annotation: dict[str, Any], where: str) -> tuple[Video | None, bool]:
        """The video of an annotation, None where it is not in the file; whether its category is."""
        video_id, category_id = annotation.get("video_id"), annotation.get("category_id")
        is_category = type(category_id) is int and category_id in self.categories
        if not is_category:
            title = title_of(self.categories.values())
            known = f"the categories of the file{f' ({title})' if title else ''}"
            self.log.error(where, "category_id", f"{category_id!r:.40} is not among {known}")
        if type(video_id) is int and video_id in self.videos:
            return self.videos[video_id], is_category
        if type(video_id) is not int or video_id not in self._unusable:
            message = f"{video_id!r:.40} is not among the videos of the file"
            self.log.error(where, "video_id", message)
        return None, is_category


def with_unique_names(videos: list[Video]) -> list[Video]:
    """Adds the number to names that several videos have, such as the parts of one folder."""
    times = Counter(video.name for video in videos)
    return [
        replace(video, name=f"{video.name}-{video.id}") if times[video.name] > 1 else video
        for video in videos
    ]
