"""YouTube-VIS and OVIS files whose tracks are parsed when their video is asked for.

A pass over the braces of a file finds where each track lies and its video. The rest waits until
the video is loaded, so that several processes can share the work and memory holds one video.
Source: spec common section 1.4.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vidseg_common.datasets.annotations import AnnotationSet, Clip, Track
from vidseg_common.datasets.json_stream import JsonEntry
from vidseg_common.datasets.problem_log import ProblemLog
from vidseg_common.datasets.track_json import load_track
from vidseg_common.datasets.youtube_vis import read, read_results
from vidseg_common.datasets.youtube_vis_entries import parse_track
from vidseg_common.datasets.youtube_vis_loader import YoutubeVisLoader, with_unique_names
from vidseg_common.datasets.youtube_vis_results import ResultsLoader

__all__ = ["open_annotations", "open_results"]

_BLOCK = 1 << 18  # stays in the cache
_VIDEO_ID = re.compile(rb'"video_id"\s*:\s*(\d+)')
_ID = re.compile(rb'"id"\s*:\s*(\d+)')
_ANNOTATIONS = b'"annotations"'
_OPEN, _CLOSE = ord("{"), ord("}")


class _Place(NamedTuple):
    """Where a track lies in the file: its bytes, and its number there."""

    start: int
    end: int
    number: int


class _Tracks:
    """The tracks of a file by video, as text.

    Args:
        path: the file.
        content: all of it.
    """

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self.path = path
        self.content = content
        self.places: dict[int, list[_Place]] = {}

    def entries(self, video_id: int, log: ProblemLog) -> Iterator[tuple[int, dict[str, Any]]]:
        """Decodes the tracks of a video; yields them with their numbers.

        Args:
            video_id: the video.
            log: gets what is no JSON.
        """
        for start, end, number in self.places.get(video_id, ()):
            try:
                entry = load_track(self.content[start:end])
            except ValueError as error:
                log.error(f"entry {number}", "", f"not JSON: {error}")
                continue
            if entry.get("video_id") != video_id:
                log.error(f"entry {number}", "video_id", "occurs more than once")
                continue
            yield number, entry


def open_annotations(path: str | Path, *, images: str | Path | None = None) -> AnnotationSet:
    """Reads a data set as `youtube_vis.read`, but annotations when their video is loaded.

    What is wrong in an annotation shows then. Run lengths are not decoded here at all: metrics do
    so, and name the track that is malformed. Counts that the file has as a list are an array. A
    file of another shape is read at once.

    Args:
        path: the JSON file.
        images: folder that the file names are relative to.

    Raises:
        DatasetError: the file cannot be read or used.
    """
    loader = YoutubeVisLoader(Path(path))
    tracks = _index_annotations(Path(path), loader)
    if tracks is None:
        return read(path, images=images)
    loader.log.raise_errors("the file of annotations")
    videos = with_unique_names(list(loader.videos.values()))

    def load(i: int) -> Clip:
        video, log = videos[i], ProblemLog(Path(path))
        found: list[Track | None] = []
        for number, entry in tracks.entries(video.id, log):
            where, category = f"annotation {number}", entry.get("category_id")
            if entry.get("id") != number:
                log.error(where, "id", "occurs more than once")
            elif type(category) is not int or category not in loader.categories:
                fault = f"{category!r:.40} is not among the categories of the file"
                log.error(where, "category_id", fault)
            else:
                found.append(parse_track(entry, number, video, log, thorough=False))
        log.raise_errors("the file of annotations")
        return Clip(video, [track for track in found if track is not None])

    return AnnotationSet(
        videos=videos,
        categories=list(loader.categories.values()),
        load=load,
        image_root=None if images is None else Path(images),
        info=loader.info,
    )


def open_results(path: str | Path, truth: AnnotationSet) -> AnnotationSet:
    """Reads results as `read_results`, but tracks when their video is loaded.

    What is wrong in a track shows then. Run lengths are not decoded here at all: metrics do so,
    and name the track that is malformed. A file of another shape, such as a zip, is read at once.

    Args:
        path: the JSON file, or a zip with `results.json` at its root.
        truth: the data set; all of its videos are in the result.

    Raises:
        DatasetError: the file cannot be read, or has results of videos that `truth` does not have.
    """
    tracks = _index_results(Path(path), {video.id for video in truth.videos})
    if tracks is None:
        return read_results(path, truth)
    videos, loader = list(truth.videos), ResultsLoader(Path(path), truth)

    def load(i: int) -> Clip:
        loader.log = ProblemLog(Path(path))
        found = [
            loader.parse(entry, number, thorough=False)
            for number, entry in tracks.entries(videos[i].id, loader.log)
        ]
        loader.log.raise_errors("the file of results")
        return Clip(videos[i], [track for track in found if track is not None])

    return AnnotationSet(videos, truth.categories, load, truth.image_root)


def _index_results(path: Path, video_ids: set[int]) -> _Tracks | None:
    """Finds the results of known videos, None where the file is anything but a list of such."""
    content = _mapped(path)
    if content is None:
        return None
    tracks = _Tracks(path, content)
    last = 0
    for number, (start, end) in enumerate(_objects(content, level=1), 1):
        # Nothing but the list may be around the objects: then the file is JSON if each of them
        # is, and braces within texts cannot mislead.
        if content[last:start].split() != ([b","] if last else [b"["]):
            return None
        match = _VIDEO_ID.search(content, start, end)
        if match is None or int(match[1]) not in video_ids:
            return None
        tracks.places.setdefault(int(match[1]), []).append(_Place(start, end, number))
        last = end
    return tracks if content[last:].split() == [b"]"] else None


def _index_annotations(path: Path, loader: YoutubeVisLoader) -> _Tracks | None:
    """Reads all but the annotations and finds those, None where the file has another shape.

    Args:
        path: the file.
        loader: takes videos, categories and what the file says about itself.
    """
    content = _mapped(path)
    if content is None:
        return None
    tracks, others, ids = _Tracks(path, content), [], set()
    last = 0
    for start, end in _objects(content, level=2):
        if content.find(b'"segmentations"', start, end) < 0:
            continue
        video_id, number = _VIDEO_ID.search(content, start, end), _ID.search(content, start, end)
        if video_id is None or number is None or int(number[1]) in ids:
            return None
        ids.add(int(number[1]))
        places = tracks.places.setdefault(int(video_id[1]), [])
        places.append(_Place(start, end, int(number[1])))
        others.append(content[last:start])
        last = end
    # The file with a 0 for every annotation: where that is JSON with a list of 0 under the key,
    # the annotations were recognised rightly, whatever braces their texts have.
    skeleton = b"0".join([*others, content[last:]])
    try:
        header = json.loads(skeleton)
    except ValueError:
        return None
    if not ids or not isinstance(header, dict) or skeleton.count(_ANNOTATIONS) != 1:
        return None
    if header.get("annotations") != [0] * len(ids) or not {"videos", "categories"} <= header.keys():
        return None
    _take_header(header, loader)
    return tracks if tracks.places.keys() <= loader.videos.keys() else None


def _take_header(header: dict[str, Any], loader: YoutubeVisLoader) -> None:
    for key in ("info", "licenses", "videos", "categories"):
        value = header.get(key, [])
        items = enumerate(value) if isinstance(value, list) else [(None, value)]
        for position, item in items:
            loader.take_header(JsonEntry(key, position, item))


def _mapped(path: Path) -> mmap.mmap | None:
    """The content of a file, None where there is none."""
    if not path.is_file() or not path.stat().st_size:
        return None
    with path.open("rb") as handle:
        return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)


def _objects(content: mmap.mmap, level: int) -> Iterator[tuple[int, int]]:
    """Start and end of every object that lies in `level - 1` others."""
    depth, start = 0, 0
    for offset in range(0, len(content), _BLOCK):
        codes = np.frombuffer(content[offset : offset + _BLOCK], np.uint8)
        braces = np.flatnonzero(codes >= _OPEN)  # few other characters are
        braces = braces[(codes[braces] == _OPEN) | (codes[braces] == _CLOSE)]
        steps = np.where(codes[braces] == _OPEN, 1, -1)
        depths = depth + steps.cumsum()
        depth = int(depths[-1]) if len(depths) else depth
        edges = np.flatnonzero(depths - (steps > 0) == level - 1)
        for place, step in zip(
            (braces[edges] + offset).tolist(), steps[edges].tolist(), strict=True
        ):
            if step > 0:
                start = place
            else:
                yield start, place + 1
