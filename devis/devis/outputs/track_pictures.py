"""Pictures of tracks and of single clips, as TEST.VIZ asks for them (spec 8.5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from devis.config import Config
from devis.config_tree import ClipTracking, Viz
from devis.inference.predictor import ClipSeen, VideoResult
from devis.inference.results import TrackResult, finish
from devis.outputs.drawing import Image, color_of, draw_all, draw_one
from vidseg_common.files import check_writable, write_text
from vidseg_common.video import BackgroundWriter, read_image, write_image

#: How much masks cover the frame: alone, and beside others.
SINGLE, MERGED = 0.7, 0.55


@dataclass(frozen=True)
class TrackPictures:
    """What is drawn of a data set.

    Attributes:
        viz: the section of the configuration; its folder is not empty.
        tracking: thresholds of scores.
        names: of the classes.
    """

    viz: Viz
    tracking: ClipTracking
    names: Mapping[int, str]

    @staticmethod
    def of(cfg: Config, names: Mapping[int, str]) -> TrackPictures | None:
        """What a configuration asks for; None: nothing.

        Raises:
            UserError: the folder cannot be written.
        """
        if not cfg.TEST.VIZ.OUT_VIZ_PATH:
            return None
        check_writable(cfg.TEST.VIZ.OUT_VIZ_PATH)
        return TrackPictures(cfg.TEST.VIZ, cfg.TEST.CLIP_TRACKING, names)

    def wants(self, video: str) -> bool:
        """Whether the video of a name is drawn."""
        return self.viz.wants(video)

    def video(self, name: str, frames: Sequence[Path]) -> VideoPictures:
        """For the pictures of one video, given the files of its frames."""
        return VideoPictures(self, Path(self.viz.OUT_VIZ_PATH) / name, frames)

    def name_of(self, label: int) -> str:
        """The name of a class, or its number where it has none."""
        return self.names.get(label, str(label))


class VideoPictures:
    """Writes the pictures of one video.

    Args:
        options: what is drawn.
        folder: of the video.
        frames: files of its frames.
    """

    def __init__(self, options: TrackPictures, folder: Path, frames: Sequence[Path]) -> None:
        self.options, self.folder, self.frames = options, folder, frames

    def add_clip(self, clip: ClipSeen) -> None:
        """Draws a clip, if clips are drawn: every track in a folder of its own.

        Only the thresholds of frames and of tracks count here: a clip is short.
        """
        if not self.options.viz.SAVE_CLIP_VIZ:
            return
        settings = replace(self.options.tracking, MIN_DETECTIONS=1)
        numbers = clip.frames[: len(clip.output.scores)]
        images = [read_image(self.frames[number]) for number in numbers]
        masks = clip.output.mask_of.tolist()
        folder = self.folder / "clip_results" / f"window_{clip.number}"
        with BackgroundWriter() as writer:
            for track in finish(clip.seen, settings):
                name = f"{score_text(track.score)}_track_{track.number}_id_{masks[track.number]}"
                pairs = zip(numbers, self._alone(track, images), strict=True)
                for number, picture in pairs:
                    writer.submit(write_image, folder / name / self._file(number), picture)

    def add_tracks(self, result: VideoResult) -> None:
        """Draws the tracks of the whole video, all together or each in a folder of its own."""
        with BackgroundWriter() as writer:
            if self.options.viz.SAVE_MERGED_TRACKS:
                self._add_merged(result, writer)
                return
            for track in result.tracks:
                name = f"{score_text(track.score)}_track_{track.number}"
                folder = self.folder / "tracks_results" / name
                images = (read_image(path) for path in self.frames)
                for number, picture in enumerate(self._alone(track, images)):
                    writer.submit(write_image, folder / self._file(number), picture)
                write_text(folder / "matches.txt", matches_text(result.parts[track.number]))

    def _add_merged(self, result: VideoResult, writer: BackgroundWriter) -> None:
        order = sorted(result.tracks, key=lambda track: -track.score)
        names = [self.options.name_of(track.label) for track in order]
        for number, path in enumerate(self.frames):
            seen = [track.frames[number] for track in order]
            picture = draw_all(read_image(path), list(zip(seen, names, strict=True)), MERGED)
            writer.submit(write_image, self.folder / self._file(number), picture)

    def _alone(self, track: TrackResult, images: Iterator[Image] | list[Image]) -> Iterator[Image]:
        name, color = self.options.name_of(track.label), color_of(track.number)
        for image, seen in zip(images, track.frames, strict=True):
            yield draw_one(image, seen, name, color, SINGLE)

    def _file(self, number: int) -> str:
        return f"{self.frames[number].stem}.jpg"


def score_text(score: float) -> str:
    """A score as folders have it: 100 times the score, without the dot ("9876" for 0.9876)."""
    return f"{100 * score:05.2f}".replace(".", "")


def matches_text(parts: Sequence[tuple[int, int]]) -> str:
    """Which predictions of successive clips make up a track, one pair of clips a line."""
    return "".join(
        f"Window_{i} track_{a} / Window_{j} track_{b}\n" for (i, a), (j, b) in pairwise(parts)
    )
