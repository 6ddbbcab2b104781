"""Results of YouTube-VIS and OVIS: a JSON list of scored tracks, or the zip that is submitted.

Source: spec common sections 1.4, 5.1 and 5.3.
"""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from vidseg_common.datasets.annotations import (
    AnnotationSet,
    Category,
    Clip,
    Problem,
    Track,
    Video,
)
from vidseg_common.datasets.category_names import title_of
from vidseg_common.datasets.json_masks import is_finite
from vidseg_common.datasets.json_stream import ROOT, iter_entries
from vidseg_common.datasets.json_write import write_list
from vidseg_common.datasets.problem_log import ProblemLog
from vidseg_common.datasets.spool import TrackSpool
from vidseg_common.datasets.write_losses import WriteLosses
from vidseg_common.datasets.youtube_vis_entries import parse_masks
from vidseg_common.errors import DatasetError
from vidseg_common.files import atomic_path

__all__ = [
    "RESULTS_NAME",
    "ResultsLoader",
    "check_track",
    "read_results",
    "validate_results",
    "write_results",
]

RESULTS_NAME = "results.json"
"""Name of the list at the root of a zip."""

_FIELDS = ("video_id", "category_id", "score", "segmentations")
# Members of a zip are dated by this, so that equal results give equal files.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def read_results(
    path: str | Path, truth: AnnotationSet | None = None, *, progress: bool = False
) -> AnnotationSet:
    """Reads results; the tracks of a video keep the order of the file, on which ties depend.

    A track has the id of its place in the file, from 1. Categories that the ground truth lacks
    are kept, for the metric to leave out.

    Args:
        path: the JSON file, or a zip with `results.json` at its root.
        truth: the data set; all of its videos are in the result. Without it videos and
            categories are those that the results mention.
        progress: show a bar on stderr.

    Raises:
        DatasetError: the file cannot be read or used; all errors are listed.
    """
    loader = ResultsLoader(Path(path), truth)
    loader.run(progress)
    loader.log.raise_errors("the file of results")
    return loader.annotation_set()


def validate_results(
    path: str | Path, truth: AnnotationSet | None = None, *, progress: bool = False
) -> list[Problem]:
    """Lists everything that is wrong in results, and what the official tool does not take.

    Arguments as `read_results`.
    """
    loader = ResultsLoader(Path(path), truth)
    try:
        loader.run(progress)
    except DatasetError as error:
        loader.log.unreadable(error)
    return loader.log.problems


def write_results(
    annotations: AnnotationSet, out: str | Path, *, progress: bool = False
) -> list[str]:
    """Writes tracks with scores as results.

    Args:
        annotations: the tracks; each has a score.
        out: a JSON file, or a zip that will hold `results.json`.
        progress: show a bar on stderr.

    Returns:
        What the format could not hold.

    Raises:
        DatasetError: a track without a finite score, or one that does not fit its video.
        OSError: the file cannot be written.
    """
    out, losses = Path(out), WriteLosses()
    entries = _entries(annotations, losses, progress)
    if out.suffix.lower() != ".zip":
        write_list(out, entries)
        return losses.warnings()
    with atomic_path(out) as temporary:
        content = temporary.with_suffix(".json")
        try:
            write_list(content, entries)
            _zip(content, temporary)
        finally:
            content.unlink(missing_ok=True)
    return losses.warnings()


def check_track(track: Track, video: Video) -> None:
    """Raises an error where the masks of a track do not fit its video.

    Raises:
        DatasetError: a wrong number or size of masks.
    """
    where = f"video {video.name}, track {track.id}"
    if len(track.segmentations) != video.num_frames:
        raise DatasetError(
            f"{where}: {len(track.segmentations)} masks, the video has {video.num_frames} frames"
        )
    for frame_idx, mask in enumerate(track.segmentations):
        if mask is not None and list(mask["size"]) != [video.height, video.width]:
            raise DatasetError(
                f"{where}, frame {frame_idx}: the mask has size {list(mask['size'])}, "
                f"the video [{video.height}, {video.width}]"
            )


def _zip(content: Path, out: Path) -> None:
    member = zipfile.ZipInfo(RESULTS_NAME, _ZIP_DATE)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    with (
        zipfile.ZipFile(out, "w") as archive,
        content.open("rb") as source,
        archive.open(member, "w", force_zip64=True) as target,
    ):
        while chunk := source.read(1 << 20):
            target.write(chunk)


def _entries(
    annotations: AnnotationSet, losses: WriteLosses, progress: bool
) -> Iterator[dict[str, Any]]:
    bar = tqdm(
        annotations.clips(), total=len(annotations.videos), unit="video", disable=not progress
    )
    for clip in bar:
        losses.add("marks of a group (iscrowd), left out", sum(t.is_crowd for t in clip.tracks))
        losses.add(
            "whole (amodal) masks of a track, left out",
            sum(track.amodal is not None for track in clip.tracks),
        )
        for track in clip.tracks:
            check_track(track, clip.video)
            if not is_finite(track.score):
                raise DatasetError(
                    f"video {clip.video.name}, track {track.id}: results need a finite score, "
                    f"not {track.score}"
                )
            yield {
                "video_id": clip.video.id,
                "score": track.score,
                "category_id": track.category_id,
                "segmentations": track.segmentations,
            }


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The JSON file, or the one in a zip.

    Raises:
        DatasetError: nothing is there, or the zip is damaged, encrypted or lacks the file.
    """
    if not path.is_file():
        raise DatasetError(f"file of results not found: {path}")
    if not zipfile.is_zipfile(path):
        with path.open("rb") as handle:
            yield handle
        return
    try:
        with zipfile.ZipFile(path) as archive, _member(archive, path) as member:
            yield member
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DatasetError(f"{path}: cannot unpack {RESULTS_NAME}: {error}") from error


def _member(archive: zipfile.ZipFile, path: Path) -> BinaryIO:
    names = archive.namelist()
    if RESULTS_NAME not in names:
        found = ", ".join(names[:5]) or "nothing"
        raise DatasetError(f"{path}: expected {RESULTS_NAME} at the root of the zip, found {found}")
    try:
        return archive.open(RESULTS_NAME)  # type: ignore[return-value]
    except RuntimeError as error:
        raise DatasetError(f"{path}: {error}") from error


class ResultsLoader:
    """What has been read of one file of results.

    Args:
        path: the file.
        truth: the data set, None where unknown.
    """

    def __init__(self, path: Path, truth: AnnotationSet | None) -> None:
        self.path = path
        self.log = ProblemLog(path)
        self._truth = truth
        self._videos = {video.id: video for video in truth.videos} if truth else {}
        self._categories = truth.category_names() if truth else {}
        self._tracks = TrackSpool()
        self._positions: dict[int, list[int]] = {}

    def run(self, progress: bool) -> None:
        """Reads the file."""
        with _opened(self.path) as handle:
            name = str(self.path)
            for entry in iter_entries(handle, (ROOT,), progress=progress, name=name):
                if entry.position is None:
                    continue
                track = self.parse(entry.value, entry.position + 1)
                if track is not None:
                    positions = self._positions.setdefault(entry.value["video_id"], [])
                    positions.append(self._tracks.append(track))

    def annotation_set(self) -> AnnotationSet:
        """The results as a data set, whose tracks are fetched from disk."""
        videos = list(self._videos.values())
        positions = [self._positions.get(video.id, []) for video in videos]

        def load(i: int) -> Clip:
            return Clip(videos[i], [self._tracks[position] for position in positions[i]])

        categories = [Category(number, name) for number, name in self._categories.items()]
        return AnnotationSet(
            videos=videos,
            categories=self._truth.categories if self._truth else categories,
            load=load,
            image_root=self._truth.image_root if self._truth else None,
        )

    def parse(self, entry: Any, number: int, *, thorough: bool = True) -> Track | None:
        """Turns one result into a track; None, with errors in the log, where it cannot be used.

        Args:
            entry: the result.
            number: its place in the file, from 1.
            thorough: decode run lengths to see that they are good, and note the forms of masks.
        """
        where = f"result {number}"
        if not isinstance(entry, dict):
            self.log.error(where, "", f"expected an object, found {entry!r:.40}")
            return None
        for field in _FIELDS:
            if field not in entry:
                self.log.error(where, field, "missing")
        extra = {key: value for key, value in entry.items() if key not in _FIELDS}
        if extra:
            self.log.note(where, "", f"fields that no tool reads: {', '.join(extra)}")
        score = entry.get("score")
        if "score" in entry and not is_finite(score):
            self.log.error(where, "score", f"expected a finite number, found {score!r:.40}")
        is_category = self._take_category(entry, where)
        video = self._video_of(entry, where)
        if video is None or "segmentations" not in entry:
            return None
        where = f"{where} (video {video.id})"
        size = (video.height, video.width)
        masks = parse_masks(entry, where, video.num_frames, size, self.log, check_runs=thorough)
        if masks is None:
            return None
        if thorough:
            self._note_forms(entry, where)
        if score is None or not is_finite(score) or not is_category:
            return None
        return Track(number, entry["category_id"], masks, score=float(score), extra=extra)

    def _take_category(self, entry: dict[str, Any], where: str) -> bool:
        """Whether the category is a number; those that the ground truth lacks are noted."""
        number = entry.get("category_id")
        if type(number) is not int:
            if "category_id" in entry:
                message = f"expected a whole number, found {number!r:.40}"
                self.log.error(where, "category_id", message)
            return False
        if self._truth is None:
            self._categories.setdefault(number, f"category {number}")
        elif number not in self._categories:
            title = title_of(self._truth.categories) or "the data set"
            message = f"{number} is not among the categories of {title}; not scored"
            self.log.note(where, "category_id", message)
        return True

    def _video_of(self, entry: dict[str, Any], where: str) -> Video | None:
        """The video of a result; without ground truth, one made of the first that mentions it."""
        number = entry.get("video_id")
        if type(number) is not int:
            if "video_id" in entry:
                message = f"expected a whole number, found {number!r:.40}"
                self.log.error(where, "video_id", message)
            return None
        if number not in self._videos and self._truth is None:
            self._videos[number] = _guessed_video(number, entry.get("segmentations"))
        if number not in self._videos:
            self.log.error(where, "video_id", f"{number} is not among the videos of the data set")
            return None
        return self._videos[number]

    def _note_forms(self, entry: dict[str, Any], where: str) -> None:
        """Notes masks in forms that are read here, but not by the official tool."""
        masks = entry["segmentations"]
        forms = {"polygons" for mask in masks if type(mask) is list}
        if any(type(mask) is dict and type(mask["counts"]) is list for mask in masks):
            forms.add("run lengths as a list")
        if forms:
            found = " and ".join(sorted(forms))
            message = f"the official tool takes RLE with counts as a text only, found {found}"
            self.log.note(where, "segmentations", message)


def _guessed_video(number: int, segmentations: Any) -> Video:
    """What the masks of a result tell of its video: number of frames, and their size."""
    masks = segmentations if isinstance(segmentations, list) else []
    sizes = (mask.get("size") for mask in masks if isinstance(mask, dict))
    size = next((s for s in sizes if isinstance(s, list) and len(s) == 2), [0, 0])
    height, width = (value if type(value) is int else 0 for value in size)
    names = tuple(f"{number}/{frame_idx:05d}.jpg" for frame_idx in range(len(masks)))
    return Video(number, str(number), height, width, names)
