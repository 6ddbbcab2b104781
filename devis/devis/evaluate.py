"""Runs a validation set through a network, writes the results, scores them (spec 8.1, 8.4)."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import nn
from tqdm import tqdm

from devis import scoring
from devis.config import Config
from devis.data.opening import OpenSet
from devis.evaluation_set import check_images, open_evaluation_set, paths_of
from devis.inference.images import ImagePredictor
from devis.inference.predictor import Image, Predictor, Stopwatch
from devis.interrupted import forget_finished, keep_finished
from devis.model.detector import DeformableDETR
from devis.model.segmenter import DeVIS, MaskHeadModel
from devis.outputs.track_pictures import TrackPictures
from vidseg_common.commands.common import say
from vidseg_common.datasets.annotations import Video
from vidseg_common.datasets.json_write import write_list
from vidseg_common.distributed import DistInfo
from vidseg_common.errors import ConfigError, DatasetError, UserError, VideoError
from vidseg_common.files import OutputLock, check_writable
from vidseg_common.finished import FinishedVideos
from vidseg_common.submission import write_zip
from vidseg_common.video import open_source, read_image

RESULTS = "results.json"
#: Of the data set, the place of a video and its entries of the result file.
Found = tuple[int, list[dict[str, Any]]]


def weights_of(cfg: Config) -> dict[str, Path]:
    """The weights that a configuration names: one file, or several epochs of a folder.

    Args:
        cfg: with MODEL.WEIGHTS, or with TEST.INPUT_FOLDER and TEST.EPOCHS_TO_EVAL.

    Returns:
        Name of the folder of results in `OUTPUT_DIR` to the file.

    Raises:
        ConfigError: it names none, or one that is not there.
    """
    test = cfg.TEST
    if not test.INPUT_FOLDER:
        if not cfg.MODEL.WEIGHTS:
            raise ConfigError("MODEL.WEIGHTS: expected the file to evaluate, it is empty")
        return {test.SAVE_PATH: Path(cfg.MODEL.WEIGHTS)}
    folder = Path(test.INPUT_FOLDER)
    files = {f"val_epoch_{e}": folder / f"checkpoint_epoch_{e}.pth" for e in test.EPOCHS_TO_EVAL}
    missing = [str(file) for file in files.values() if not file.is_file()]
    if missing:
        raise ConfigError(f"TEST.EPOCHS_TO_EVAL: there is no file {', '.join(missing)}")
    return files


def evaluate(
    network: nn.Module,
    cfg: Config,
    *,
    device: torch.device,
    folder: str | Path,
    dist: DistInfo | None = None,
    dtype: torch.dtype = torch.float32,
    workers: int = 1,
    weights: Path | None = None,
    part: OpenSet | None = None,
) -> dict[str, float]:
    """Evaluates a network on the validation set of its configuration.

    `FOLDER/results.json` and `results.zip` are written by the first process, its scores to
    `OUTPUT_DIR/output_eval`. The network is left as it is.

    Args:
        network: on the device; not wrapped.
        cfg: of the network.
        device: where to run.
        folder: for the results.
        dist: place among several processes, which share the videos; None: there is one.
        dtype: number format of the network.
        workers: processes of the metric.
        weights: the file of the network's weights; given it, what an interrupted evaluation of the
            same has finished is not run again.
        part: some videos of the data set, which are run and not scored; None: all are.

    Returns:
        Of videos AP, AP50, ..., of images bbox_AP, ..., segm_AP, ..., each in 0 to 1. Empty where
        there is no ground truth or only a part of the data was run, and in all processes but the
        first.

    Raises:
        UserError: the data set or the folder is unusable.
    """
    dist, folder = dist or DistInfo(device=device), Path(folder)
    chosen = open_evaluation_set(cfg) if part is None else part
    was_training = network.training
    network.eval()
    try:
        run = _images if cfg.DATASETS.TYPE == "coco" else _videos
        with (
            _locked(folder) if dist.is_main else contextlib.nullcontext(),
            keep_finished(weights, cfg, chosen, folder, dist, dtype) as finished,
        ):
            work = run(network, cfg, _Place(chosen, device, dist, dtype, finished))
            if not _write(work, folder, dist) or part is not None:
                return {}
            return score_results(cfg, chosen, folder, workers, is_complete=work.is_complete)
    finally:
        network.train(was_training)


@dataclass(frozen=True)
class _Place:
    """What is run where; `finished` has the results of an interrupted run and gets new ones."""

    chosen: OpenSet
    device: torch.device
    dist: DistInfo
    dtype: torch.dtype
    finished: FinishedVideos | None = None

    def share(self, videos: list[int]) -> list[int]:
        """The videos of this process."""
        return videos[self.dist.rank :: self.dist.world_size]

    def kept(self, video: Video) -> list[dict[str, Any]] | None:
        """Entries of a video or image that an interrupted run has finished; None: it has not."""
        if self.finished is None or video.id not in self.finished:
            return None
        return self.finished.entries(video.id)

    def keep(self, video: Video, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Keeps the entries of a video that is through, and gives them back."""
        if self.finished is not None:
            self.finished.add(video.id, entries)
        return entries


@dataclass(frozen=True)
class _Work:
    """Results as they are computed, and how long that takes.

    Attributes:
        found: results of one video or image after the other; computed as they are taken.
        times: filled meanwhile.
        is_complete: all of the data set is run.
    """

    found: Iterator[Found]
    times: Stopwatch
    is_complete: bool


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    check_writable(folder)
    with OutputLock(folder):
        yield


def _videos(network: nn.Module, cfg: Config, place: _Place) -> _Work:
    """Tracks of videos."""
    if not isinstance(network, DeVIS):
        raise UserError("DATASETS.TYPE vis needs a network for clips")
    videos = place.chosen.data.videos
    pictures = TrackPictures.of(cfg, place.chosen.data.category_names())
    wanted = [i for i, v in enumerate(videos) if pictures is None or pictures.wants(v.name)]
    if not wanted:
        raise ConfigError(
            f"TEST.VIZ.VIDEO_NAMES: {place.chosen.file} has none of {cfg.TEST.VIZ.VIDEO_NAMES}"
        )
    if len(wanted) < len(videos) and place.dist.is_main:
        say(f"TEST.VIZ.VIDEO_NAMES: {len(wanted)} of {len(videos)} videos are run")
    check_images(place.chosen, [videos[i] for i in wanted])
    predictor = Predictor(network, cfg, place.device, place.dtype)
    mine = place.share(wanted)

    def found() -> Iterator[Found]:
        total = sum(videos[i].num_frames for i in mine)
        # disable=None: no bar where nobody looks.
        disable = None if place.dist.is_main else True
        with tqdm(total=total, unit="frame", disable=disable) as bar:
            for i in mine:
                if (before := place.kept(videos[i])) is not None:
                    bar.update(videos[i].num_frames)
                    yield i, before
                    continue
                bar.set_postfix_str(videos[i].name)
                artist = pictures and pictures.video(
                    videos[i].name, paths_of(place.chosen, videos[i])
                )
                frames = _frames(place.chosen, videos[i], cfg.NUM_WORKERS, bar)
                result = predictor.run(frames, artist.add_clip if artist else None)
                if artist:
                    artist.add_tracks(result)
                entries = [track.entry(videos[i].id) for track in result.tracks]
                yield i, place.keep(videos[i], entries)

    return _Work(found(), predictor.times, len(wanted) == len(videos))


def _images(network: nn.Module, cfg: Config, place: _Place) -> _Work:
    """Instances of images."""
    if not isinstance(network, (DeformableDETR, MaskHeadModel)):
        raise UserError("DATASETS.TYPE coco needs a network for images")
    videos = place.chosen.data.videos
    check_images(place.chosen, videos)
    predictor = ImagePredictor(network, cfg, place.device, place.dtype)
    mine, size = place.share(list(range(len(videos)))), cfg.SOLVER.BATCH_SIZE

    def found() -> Iterator[Found]:
        disable = None if place.dist.is_main else True
        with tqdm(total=len(mine), unit="image", disable=disable) as bar:
            parts = [mine[first : first + size] for first in range(0, len(mine), size)]
            # A batch is run whole or not at all: its images share their padding.
            kept = {i: entries for i in mine if (entries := place.kept(videos[i])) is not None}
            done = [part for part in parts if all(i in kept for i in part)]
            for i in chain.from_iterable(done):
                bar.update()
                yield i, kept.pop(i)
            parts = [part for part in parts if part not in done]
            for part, batch in zip(parts, _batches(place.chosen, parts), strict=True):
                for i, result in zip(part, predictor.run(batch), strict=True):
                    yield i, place.keep(videos[i], result.entries(videos[i].id))
                bar.update(len(part))

    return _Work(found(), predictor.times, True)


def _batches(chosen: OpenSet, parts: list[list[int]]) -> Iterator[list[Image]]:
    """Images of every part; the next part is read while one is in use."""
    videos = chosen.data.videos

    def read(i: int) -> Image:
        return _checked(chosen, videos[i], read_image(paths_of(chosen, videos[i])[0]))

    with ThreadPoolExecutor() as pool:
        waiting: deque[list[Future[Image]]] = deque()
        for part in parts:
            waiting.append([pool.submit(read, i) for i in part])
            if len(waiting) > 1:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]


def _frames(chosen: OpenSet, video: Video, prefetch: int, bar: Any) -> Iterator[Image]:
    """Frames of a video (RGB), in the size that the annotation file states."""
    try:
        with open_source(paths_of(chosen, video), prefetch=prefetch) as source:
            for frame in source:
                yield _checked(chosen, video, frame.image)
                bar.update()
    except VideoError as error:
        raise VideoError(f"video {video.id} ({video.name}): {error}") from error


def _checked(chosen: OpenSet, video: Video, image: Image) -> Image:
    if image.shape[:2] != (video.height, video.width):
        raise DatasetError(
            f"{chosen.file}: {video.name}, height and width: {video.height}x{video.width}, but "
            f"its image is {image.shape[0]}x{image.shape[1]}"
        )
    return image


def _write(work: _Work, folder: Path, dist: DistInfo) -> bool:
    """Computes and writes; gives whether this is the process that has all results."""
    start = time.perf_counter()
    entries = _gathered(work.found, dist)
    if not dist.is_main:
        for _ in entries:
            pass
        return False
    write_results(folder, entries)
    forget_finished(folder)
    if dist.world_size == 1:
        _report_times(work.times, time.perf_counter() - start)
    return True


def write_results(folder: Path, entries: Iterator[dict[str, Any]]) -> None:
    """Writes `results.json`, and the archive that is uploaded."""
    write_list(folder / RESULTS, entries)
    write_zip(folder / "results.zip", {RESULTS: folder / RESULTS})
    say(f"results in {folder / RESULTS}")


def score_results(
    cfg: Config, chosen: OpenSet, folder: Path, workers: int, *, is_complete: bool = True
) -> dict[str, float]:
    """Scores what `write_results` has written, where that can be; see `evaluate`.

    Raises:
        UserError: the results cannot be scored.
    """
    if not chosen.data.has_annotations:
        say(f"not scored: {chosen.file} has no annotations; upload {folder / 'results.zip'}")
        return {}
    if not is_complete:
        say("not scored: a part of the data set was run")
        return {}
    return _score(cfg, chosen, folder / RESULTS, workers)


def _score(cfg: Config, chosen: OpenSet, results: Path, workers: int) -> dict[str, float]:
    base = Path(cfg.OUTPUT_DIR) / scoring.OUTPUT / results.parent.name
    try:
        if cfg.DATASETS.TYPE == "vis":
            scored = {"": scoring.score_videos(chosen, results, workers=workers)}
        else:
            found = scoring.score_images(chosen, results, masks=cfg.MODEL.MASK_ON, workers=workers)
            scoring.save_curves(found["bbox"], results.with_name("eval.pth"))
            scored = {scoring.KINDS[kind]: result for kind, result in found.items()}
    except UserError as error:
        raise UserError(f"the results are written, but cannot be scored: {error}") from error
    numbers: dict[str, float] = {}
    for prefix, result in scored.items():
        file = scoring.save_scores(result, base.with_name(f"{prefix}{base.name}"))
        say(
            *([prefix.rstrip("_")] if prefix else []), result.table().rstrip(), f"numbers in {file}"
        )
        numbers |= {f"{prefix}{name}": value for name, value in result.numbers.items()}
    return numbers


def _gathered(found: Iterator[Found], dist: DistInfo) -> Iterator[dict[str, Any]]:
    """Entries of all processes in the order of the data set, in the first one; else none.

    A single process holds those of one video at a time.
    """
    if dist.world_size == 1:
        for _, entries in found:
            yield from entries
        return
    mine = {place: json.dumps(entries) for place, entries in found}
    parts: list[dict[int, str]] | None = (
        [{} for _ in range(dist.world_size)] if dist.is_main else None
    )
    torch.distributed.gather_object(mine, parts)
    merged: dict[int, str] = {}
    for part in parts or ():
        merged = part | merged  # of a video that was run twice the first one counts
    for place in sorted(merged):
        yield from json.loads(merged[place])


def _report_times(times: Stopwatch, total: float) -> None:
    """Total time, largest memory and frames per second."""
    if times.device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(times.device) / 2**20
    else:
        scale = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    rate = times.num_frames / times.total if times.total else 0.0
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in times.seconds.items())
    say(f"total time {total:.1f} s ({parts}), memory {memory:.0f} MB, {rate:.2f} frames/s")
