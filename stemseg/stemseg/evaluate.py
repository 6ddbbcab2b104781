"""Runs the sequences of a data set through a network, restartably; then the official metric."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from stemseg.benchmark_data import Benchmark
from stemseg.inference.engine import Engine, Stopwatch, VideoTracks
from stemseg.outputs.writers import ResultWriter, id_of
from stemseg.run_log import RunLog
from vidseg_common.datasets.annotations import Video
from vidseg_common.errors import DatasetError, VideoError
from vidseg_common.files import OutputLock, check_writable
from vidseg_common.video import BackgroundWriter, open_source, write_image

VISUALISATIONS = "vis"


@dataclass(frozen=True)
class EvalPlan:
    """What is run and where results go.

    Attributes:
        benchmark: the sequences.
        writer: of the results.
        run_file: JSON beside the results with the settings and the finished sequences.
        settings: what the results depend on.
        overwrite: redo finished sequences.
        save_vis: write pictures too; sequences that were finished before get none.
        prefetch: frames read ahead in a thread.
    """

    benchmark: Benchmark
    writer: ResultWriter
    run_file: Path
    settings: Mapping[str, Any]
    overwrite: bool = False
    save_vis: bool = False
    prefetch: int = 8


@dataclass
class EvalStats:
    """What happened.

    Attributes:
        times: of the sequences done now.
        done: ids of them.
        kept: ids of sequences that were finished before.
        notes: remarks about single sequences.
        results: the files or folders that hold the results.
    """

    times: Stopwatch = field(default_factory=Stopwatch)
    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    results: list[Path] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The closing lines."""
        yield from self.notes
        if self.kept:
            count = len(self.kept)
            yield f"{count} sequences were finished before and are kept (--overwrite redoes them)"
        if self.done:
            yield from self.times.lines()
        for path in self.results:
            yield f"results in {path}"


def evaluate(
    plan: EvalPlan,
    engine: Engine,
    *,
    finished: Callable[[Video, VideoTracks], None] | None = None,
) -> EvalStats:
    """Segments every sequence that is not finished yet and writes the results.

    Args:
        plan: see `EvalPlan`.
        engine: segments.
        finished: called after each sequence that was done now.

    Raises:
        UserError: the folder holds results of other settings, is in use or cannot be written, or
            a frame is unusable.
    """
    stats = EvalStats()
    check_writable(plan.writer.output)
    with OutputLock(plan.writer.output):
        log = RunLog(plan.run_file, plan.writer.output, plan.settings, overwrite=plan.overwrite)
        for video in plan.benchmark.data.videos:
            name = id_of(video)
            if name in log.finished and plan.writer.is_written(video):
                stats.kept.append(name)
                continue
            tracks = _segment(plan, engine, video)
            num_kept = plan.writer.write(video, tracks)
            _note(stats, plan.writer, name, len(tracks.statistics.tracks), num_kept)
            if plan.save_vis:
                _write_pictures(plan, video, tracks)
            stats.times.add(tracks.times)
            stats.done.append(name)
            if finished is not None:
                finished(video, tracks)
            log.add(name, {"num_tracks": num_kept, "times": asdict(tracks.times)})
        stats.results = plan.writer.finish(plan.benchmark.data.videos)
    return stats


def _note(stats: EvalStats, writer: ResultWriter, name: str, num_found: int, num_kept: int) -> None:
    if num_found == 0:
        stats.notes.append(f"sequence {name}: no object was found")
    elif num_kept < num_found:
        full = num_kept == writer.MOST_TRACKS
        reason = "the results have room for no more" if full else "--max_tracks"
        stats.notes.append(f"sequence {name}: kept {num_kept} of {num_found} tracks ({reason})")


def _segment(plan: EvalPlan, engine: Engine, video: Video) -> VideoTracks:
    with closing(_frames(plan, video)) as frames:
        # disable=None: no bar where nobody looks.
        bar = tqdm(frames, id_of(video), video.num_frames, False, unit="frame", disable=None)
        try:
            return engine.run(bar)
        except VideoError as error:
            raise VideoError(f"sequence {id_of(video)}: {error}") from error


def _frames(plan: EvalPlan, video: Video) -> Generator[np.ndarray, None, None]:
    """Frames of a sequence (RGB), in the size that the annotation file states."""
    with open_source(plan.benchmark.image_paths(video), prefetch=plan.prefetch) as source:
        if (source.height, source.width) != (video.height, video.width):
            raise DatasetError(
                f"{plan.benchmark.file}: sequence {id_of(video)}, height and width: "
                f"{video.width}x{video.height}, but its frames are {source.width}x{source.height}"
            )
        for frame in source:
            yield frame.image


def _write_pictures(plan: EvalPlan, video: Video, tracks: VideoTracks) -> None:
    """Writes `vis/NAME/NNNNN.jpg`; the frames are read once more."""
    folder = picture_folder(plan, video)
    with BackgroundWriter() as background, closing(_frames(plan, video)) as frames:
        pictures = plan.writer.draw(video, tracks, (image[..., ::-1] for image in frames))
        for t, picture in enumerate(pictures):
            rgb = np.ascontiguousarray(picture[..., ::-1])
            background.submit(write_image, folder / f"{t:05d}.jpg", rgb)


def picture_folder(plan: EvalPlan, video: Video) -> Path:
    """Where the pictures of a sequence are."""
    return plan.writer.output / VISUALISATIONS / plan.writer.name_of(video)
