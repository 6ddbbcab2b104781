"""Result files of a data set, sequence by sequence. Source: spec section 9.

Every writer has the same three parts: the files of a sequence when it is finished, pictures of it,
and what can only be written when all sequences are.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stemseg.drawing import Image
from stemseg.inference.engine import VideoTracks
from stemseg.outputs import davis, kitti_mots, youtube_vis
from stemseg.outputs.postprocess import Filters, filter_folder
from vidseg_common.datasets.annotations import Video
from vidseg_common.datasets.json_write import write_list
from vidseg_common.datasets.mots_files import IDS_PER_CLASS
from vidseg_common.errors import DatasetError
from vidseg_common.files import write_json, write_text
from vidseg_common.masks import MAX_ID
from vidseg_common.submission import write_zip

RESULTS = "results"


def id_of(video: Video) -> str:
    """The id of a sequence as the annotation file has it, as text."""
    return str(video.extra["id"])


class ResultWriter(ABC):
    """Writes the results of one data set.

    Args:
        output: folder of the results.
        scratch: folder for what is put together at the end.
        max_tracks: tracks kept of a sequence.
        category_names: class id to name, for pictures.
    """

    #: Tracks of a sequence that the format has room for.
    MOST_TRACKS: int | None = None

    def __init__(
        self, output: Path, scratch: Path, max_tracks: int, category_names: Mapping[int, str]
    ) -> None:
        self.output = output
        self.scratch = scratch
        self.max_tracks = max_tracks
        self.category_names = category_names

    @property
    def results(self) -> Path:
        """What the metric reads."""
        return self.output / RESULTS

    def name_of(self, video: Video) -> str:
        """Name of a sequence in the results."""
        return id_of(video)

    @abstractmethod
    def write(self, video: Video, tracks: VideoTracks) -> int:
        """Writes a sequence; returns the number of kept tracks."""

    @abstractmethod
    def files(self, video: Video) -> list[Path]:
        """The files of a finished sequence."""

    def is_written(self, video: Video) -> bool:
        """Whether the files of a sequence that was finished are still there."""
        # The last file appears last, so a missing one is usually found at once.
        return all(path.is_file() for path in reversed(self.files(video)))

    @abstractmethod
    def draw(self, video: Video, tracks: VideoTracks, frames: Iterable[Image]) -> Iterator[Image]:
        """The frames (BGR) of a sequence with its objects."""

    def finish(self, videos: Sequence[Video]) -> list[Path]:
        """Writes what needs all sequences; returns the files or folders that hold the results."""
        return [self.results]


class DavisWriter(ResultWriter):
    """`results/ID/NNNNN.png`."""

    MOST_TRACKS = MAX_ID

    def write(self, video: Video, tracks: VideoTracks) -> int:
        """See `ResultWriter`."""
        kept = tracks.statistics.by_lifetime(self.max_tracks)
        davis.write_masks(tracks, kept, self.results / self.name_of(video))
        return len(kept)

    def files(self, video: Video) -> list[Path]:
        """See `ResultWriter`."""
        folder = self.results / self.name_of(video)
        return [folder / f"{t:05d}.png" for t in range(video.num_frames)]

    def draw(self, video: Video, tracks: VideoTracks, frames: Iterable[Image]) -> Iterator[Image]:
        """See `ResultWriter`."""
        return davis.draw_frames(tracks, tracks.statistics.by_lifetime(self.max_tracks), frames)


class YoutubeVisWriter(ResultWriter):
    """`results.json` and `results.zip`, put together from one file per sequence."""

    @property
    def results(self) -> Path:
        """What the metric reads."""
        return self.output / f"{RESULTS}.json"

    def write(self, video: Video, tracks: VideoTracks) -> int:
        """See `ResultWriter`.

        Raises:
            DatasetError: the id of the sequence is no number.
        """
        if not isinstance(video.extra["id"], int):
            raise DatasetError(
                f"sequence {id_of(video)}: results of YouTube-VIS refer to it as `video_id`, so "
                "its id has to be a number"
            )
        scored = self._scored(tracks)
        entries = youtube_vis.result_entries(tracks, scored, video.extra["id"])
        write_json(self._part(video), entries, indent=None)
        return len(scored)

    def files(self, video: Video) -> list[Path]:
        """See `ResultWriter`."""
        return [self._part(video)]

    def draw(self, video: Video, tracks: VideoTracks, frames: Iterable[Image]) -> Iterator[Image]:
        """See `ResultWriter`."""
        return youtube_vis.draw_frames(tracks, self._scored(tracks), frames, self.category_names)

    def finish(self, videos: Sequence[Video]) -> list[Path]:
        """See `ResultWriter`."""
        write_list(self.results, self._entries(videos))
        archive = self.results.with_suffix(".zip")
        write_zip(archive, {self.results.name: self.results})
        return [self.results, archive]

    def _scored(self, tracks: VideoTracks) -> list[youtube_vis.ScoredTrack]:
        return youtube_vis.scored_tracks(tracks, tracks.statistics.by_lifetime(self.max_tracks))

    def _part(self, video: Video) -> Path:
        return self.scratch / "sequences" / f"{id_of(video)}.json"

    def _entries(self, videos: Sequence[Video]) -> Iterator[dict[str, Any]]:
        for video in videos:
            yield from json.loads(self._part(video).read_text(encoding="utf-8"))


class KittiMotsWriter(ResultWriter):
    """`results/NNNN.txt`, and the same filtered in `results_nms`."""

    MOST_TRACKS = IDS_PER_CLASS - 1
    SUFFIX = "_nms"

    def name_of(self, video: Video) -> str:
        """Name of a sequence in the results.

        Raises:
            DatasetError: its id is no number.
        """
        try:
            return f"{int(id_of(video)):04d}"
        except ValueError:
            raise DatasetError(
                f"sequence {id_of(video)}: result files of KITTI-MOTS are named by the number of "
                "the sequence, so its id has to be one"
            ) from None

    def write(self, video: Video, tracks: VideoTracks) -> int:
        """See `ResultWriter`."""
        numbered = kitti_mots.numbered_tracks(tracks, self.max_tracks)
        lines = kitti_mots.format_lines(kitti_mots.result_objects(tracks, numbered))
        write_text(self._file(video), lines)
        return len(numbered)

    def files(self, video: Video) -> list[Path]:
        """See `ResultWriter`."""
        return [self._file(video)]

    def draw(self, video: Video, tracks: VideoTracks, frames: Iterable[Image]) -> Iterator[Image]:
        """See `ResultWriter`."""
        numbered = kitti_mots.numbered_tracks(tracks, self.max_tracks)
        return kitti_mots.draw_frames(tracks, numbered, frames)

    def finish(self, videos: Sequence[Video]) -> list[Path]:
        """See `ResultWriter`."""
        filter_folder(self.results, self.SUFFIX, Filters())
        return [self.results, self.filtered]

    @property
    def filtered(self) -> Path:
        """Folder of the filtered results."""
        return self.results.with_name(f"{RESULTS}{self.SUFFIX}")

    def _file(self, video: Video) -> Path:
        return self.results / f"{self.name_of(video)}.txt"


WRITERS: dict[str, type[ResultWriter]] = {
    "davis": DavisWriter,
    "ytvis": YoutubeVisWriter,
    "kittimots": KittiMotsWriter,
}
