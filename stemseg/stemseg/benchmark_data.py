"""Data sets that inference runs on, and their official metrics. Source: spec sections 1 to 3."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stemseg.data.environment import VIDEO_SETS, check_images, video_set_files
from stemseg.outputs.writers import KittiMotsWriter, ResultWriter, id_of
from vidseg_common import rle
from vidseg_common.arguments import did_you_mean
from vidseg_common.conversion import select_positions
from vidseg_common.datasets import mots, stemseg_json, youtube_vis_results
from vidseg_common.datasets.annotations import AnnotationSet, Clip, Video
from vidseg_common.datasets.davis import UNSUPERVISED_ANNOTATIONS
from vidseg_common.datasets.stemseg_write import IGNORE_CATEGORY
from vidseg_common.errors import DatasetError, list_problems
from vidseg_common.masks import write_mask
from vidseg_common.metric_registry import Scores, find_metric
from vidseg_common.metrics.davis_jf import JFResult, evaluate_davis


@dataclass(frozen=True)
class Benchmark:
    """A data set.

    Attributes:
        name: davis, ytvis or kittimots.
        file: its annotation file.
        root: folder that its image paths are relative to.
        data: its sequences, with ground truth where the file has any.
    """

    name: str
    file: Path
    root: Path
    data: AnnotationSet

    def image_paths(self, video: Video) -> list[Path]:
        """Images of a sequence in order."""
        return [self.root / name for name in video.file_names]


def open_benchmark(name: str, wanted: Collection[str] | None = None) -> Benchmark:
    """Finds the validation set that the environment variables name.

    Args:
        name: davis, ytvis or kittimots.
        wanted: ids of the sequences, None for all.

    Raises:
        ConfigError: an environment variable is not set.
        DatasetError: a folder, the file, a sequence or an image is missing, or the file is wrong.
    """
    file, roots = video_set_files(name, "val")
    data = _select(stemseg_json.read(file, kind="video"), wanted, file)
    first = data.videos[0].file_names[0]
    root = next((root for root in roots if (root / first).is_file()), roots[0])
    benchmark = Benchmark(name, file, root, data)
    _check_images(benchmark)
    return benchmark


def _select(data: AnnotationSet, wanted: Collection[str] | None, file: Path) -> AnnotationSet:
    if not data.videos:
        raise DatasetError(f"{file}: has no sequence")
    if wanted is None:
        return data
    ids = [id_of(video) for video in data.videos]
    unknown = [f"{name}{did_you_mean(name, ids)}" for name in wanted if name not in ids]
    if unknown:
        raise DatasetError(list_problems(f"{file}: has no such sequence (--seqs):", unknown))
    return select_positions(data, [i for i, name in enumerate(ids) if name in wanted])


def _check_images(benchmark: Benchmark) -> None:
    images = (
        (f"sequence {id_of(video)}", name)
        for video in benchmark.data.videos
        for name in video.file_names
    )
    check_images(benchmark.file, benchmark.root, VIDEO_SETS[benchmark.name][1], images)


@dataclass(frozen=True)
class Evaluation:
    """One official metric of results.

    Attributes:
        title: what was scored by what.
        numbers: the headline numbers.
        table: as text, for reading.
        content: everything at full precision.
    """

    title: str
    numbers: dict[str, float]
    table: str
    content: dict[str, Any]


def score(
    benchmark: Benchmark, writer: ResultWriter, *, workers: int = 1, progress: bool = True
) -> list[Evaluation]:
    """The official metrics of the results of a data set.

    Args:
        benchmark: with ground truth.
        writer: that wrote the results.
        workers: number of processes.
        progress: show bars on stderr.

    Raises:
        UserError: results that do not fit.
    """
    if benchmark.name == "davis":
        return [_score_davis(benchmark, writer, workers, progress)]
    if benchmark.name == "ytvis":
        truth = benchmark.data
        found = youtube_vis_results.read_results(writer.results, truth)
        scores = find_metric("ytvis").evaluate(truth, found, workers=workers, progress=progress)
        return [_evaluation("video AP", scores)]
    assert isinstance(writer, KittiMotsWriter)
    truth = _mots_truth(benchmark.data, writer)
    evaluations = []
    for folder in (writer.results, writer.filtered):
        found = mots.read_results(folder, truth)
        for metric in ("mots", "hota"):
            scores = find_metric(metric).evaluate(truth, found, workers=workers, progress=progress)
            evaluations.append(_evaluation(f"{metric} of {folder.name}", scores))
    return evaluations


def _evaluation(title: str, scores: Scores) -> Evaluation:
    return Evaluation(title, dict(scores.numbers), scores.table(), scores.to_json())


def _mots_truth(data: AnnotationSet, writer: KittiMotsWriter) -> AnnotationSet:
    """Ground truth whose ignore region is one, and whose names are those of the results."""

    def load(position: int) -> Clip:
        clip = data.load(position)
        ignored = [track for track in clip.tracks if track.category_id == IGNORE_CATEGORY]
        tracks = [track for track in clip.tracks if track.category_id != IGNORE_CATEGORY]
        region = [
            rle.merge(masks) if (masks := [m for m in frame if m is not None]) else None
            for frame in zip(*(track.segmentations for track in ignored), strict=True)
        ]
        return Clip(named[position], tracks, region or None, clip.labelled)

    named = [replace(video, name=writer.name_of(video)) for video in data.videos]
    categories = [c for c in data.categories if c.id != IGNORE_CATEGORY]
    return replace(data, videos=named, categories=categories, load=load)


def _score_davis(
    benchmark: Benchmark, writer: ResultWriter, workers: int, progress: bool
) -> Evaluation:
    videos = benchmark.data.videos
    official = official_annotations(benchmark)
    if official is not None:
        names = [id_of(video) for video in videos]
        result = _jf(official, writer.results, names, workers, progress)
        return _jf_evaluation(result, f"against {official}")
    with tempfile.TemporaryDirectory(prefix="stemseg-truth-") as folder:
        names = write_annotations(benchmark.data, Path(folder))
        result = _jf(Path(folder), writer.results, names, workers, progress)
    return _jf_evaluation(result, f"against the masks of {benchmark.file}")


def _jf(truth: Path, results: Path, names: Sequence[str], workers: int, progress: bool) -> JFResult:
    return evaluate_davis(
        truth, results, names, task="unsupervised", workers=workers, progress=progress
    )


def _jf_evaluation(result: JFResult, truth: str) -> Evaluation:
    title = f"J&F, DAVIS unsupervised, {truth}"
    return Evaluation(title, result.numbers, result.table(), result.to_json())


def official_annotations(benchmark: Benchmark) -> Path | None:
    """The folder of DAVIS with masks for the unsupervised task, which mark void pixels too.

    None where a sequence of the data set is not in it, or has its frames under other names.
    """
    resolution = benchmark.root.resolve()
    if len(resolution.parents) < 2:
        return None
    folder = resolution.parents[1] / UNSUPERVISED_ANNOTATIONS / resolution.name
    for video in benchmark.data.videos:
        expected = [f"{t:05d}.png" for t in range(video.num_frames)]
        found = sorted(path.name for path in (folder / id_of(video)).glob("*.png"))
        if found != expected:
            return None
    return folder


def write_annotations(data: AnnotationSet, folder: Path) -> list[str]:
    """Writes ground truth as `ID/NNNNN.png`, objects numbered from 1.

    Returns:
        The ids of the sequences.
    """
    for clip in data.clips():
        video = clip.video
        for t in range(video.num_frames):
            ids = np.zeros((video.height, video.width), np.uint8)
            for number, track in enumerate(clip.tracks, start=1):
                mask = track.segmentations[t]
                if mask is not None:
                    ids[rle.decode(mask)] = number
            write_mask(folder / id_of(video) / f"{t:05d}.png", ids)
    return [id_of(video) for video in data.videos]
