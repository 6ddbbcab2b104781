"""Results of YouTube-VIS and OVIS that are parsed when their video is asked for.

A pass over the braces of the file finds where each result lies and its video. The rest waits
until the video is loaded, so that several processes can share the work and memory holds one video.
Source: spec common section 1.4.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidseg_common.datasets.annotations import AnnotationSet, Clip, Track
from vidseg_common.datasets.youtube_vis_results import ResultsLoader, read_results
from vidseg_common.errors import DatasetError

__all__ = ["open_results"]

_BLOCK = 1 << 22
_VIDEO_ID = re.compile(rb'"video_id"\s*:\s*(\d+)')
_OPEN, _CLOSE = ord("{"), ord("}")


def open_results(
    path: str | Path, truth: AnnotationSet, *, progress: bool = False
) -> AnnotationSet:
    """Reads results as `read_results`, but what is wrong in a track shows when it is loaded.

    Run lengths are not decoded here at all: metrics do so, and name the track that is malformed.
    A file that is not a plain list of objects, such as a zip, is read at once.

    Args:
        path: the JSON file, or a zip with `results.json` at its root.
        truth: the data set; all of its videos are in the result.
        progress: show a bar on stderr where the file is read at once.

    Raises:
        DatasetError: the file cannot be read, or has results of videos that `truth` does not have.
    """
    index = _index(Path(path), {video.id for video in truth.videos})
    if index is None:
        return read_results(path, truth, progress=progress)
    videos = list(truth.videos)

    def load(i: int) -> Clip:
        return Clip(videos[i], index.tracks(videos[i].id, truth))

    return AnnotationSet(videos, truth.categories, load, truth.image_root)


class _Index:
    """Where the results of each video lie.

    Args:
        path: the file.
        content: all of it.
        places: for every video number, start and end of each result and its place in the list.
    """

    def __init__(
        self, path: Path, content: mmap.mmap, places: dict[int, list[tuple[int, int, int]]]
    ) -> None:
        self._path = path
        self._content = content
        self._places = places

    def tracks(self, video_id: int, truth: AnnotationSet) -> list[Track]:
        """Parses the results of a video.

        Raises:
            DatasetError: some cannot be used; all errors of the video are listed.
        """
        loader = ResultsLoader(self._path, truth)
        tracks = []
        for start, end, number in self._places.get(video_id, ()):
            try:
                entry = json.loads(self._content[start:end])
            except ValueError as error:
                loader.log.error(f"result {number}", "", f"not JSON: {error}")
                continue
            if isinstance(entry, dict) and entry.get("video_id") != video_id:
                raise DatasetError(f"{self._path}: result {number} has video_id more than once")
            track = loader.parse(entry, number, check_runs=False)
            if track is not None:
                tracks.append(track)
        loader.log.raise_errors("the file of results")
        return tracks


def _index(path: Path, video_ids: set[int]) -> _Index | None:
    """Finds the results of known videos, None where the file is anything but a list of such."""
    if not path.is_file() or not path.stat().st_size:
        return None
    with path.open("rb") as handle:
        content = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    places: dict[int, list[tuple[int, int, int]]] = {}
    last = 0
    for number, (start, end) in enumerate(_objects(content), 1):
        # An object may only be recognised where nothing but the list is around it: then the file
        # is JSON if every object is, and braces within texts cannot mislead.
        if content[last:start].split() != ([b","] if last else [b"["]):
            return None
        match = _VIDEO_ID.search(content, start, end)
        if match is None or int(match[1]) not in video_ids:
            return None
        places.setdefault(int(match[1]), []).append((start, end, number))
        last = end
    if content[last:].split() != [b"]"]:
        return None
    return _Index(path, content, places)


def _objects(content: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Start and end of every object that lies in no other one."""
    depth, start = 0, 0
    for offset in range(0, len(content), _BLOCK):
        codes = np.frombuffer(content[offset : offset + _BLOCK], np.uint8)
        braces = np.flatnonzero((codes == _OPEN) | (codes == _CLOSE))
        steps = np.where(codes[braces] == _OPEN, 1, -1)
        depths = depth + steps.cumsum()
        depth = int(depths[-1]) if len(depths) else depth
        is_edge = ((depths == 1) & (steps == 1)) | ((depths == 0) & (steps == -1))
        for place, step in _pairs(braces[is_edge] + offset, steps[is_edge]):
            if step == 1:
                start = place
            else:
                yield start, place + 1


def _pairs(places: NDArray[np.int64], steps: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    return zip(places.tolist(), steps.tolist(), strict=True)
