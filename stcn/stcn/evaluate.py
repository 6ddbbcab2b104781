"""Runs a data set's videos through a predictor and writes their masks, restartably."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from stcn.inference.predictor import Prediction, Predictor
from vidseg_common.datasets.records import VideoRecord
from vidseg_common.errors import DatasetError, MaskError, UserError, VideoError, list_problems
from vidseg_common.files import OutputLock, check_writable, write_json
from vidseg_common.mask_colors import ColorIds
from vidseg_common.masks import (
    object_ids,
    read_indices,
    read_mask_and_palette,
    write_binary_mask,
    write_mask,
)
from vidseg_common.settings import changes
from vidseg_common.video import BackgroundWriter, open_source


@dataclass(frozen=True)
class EvalPlan:
    """What a tool writes and where.

    Attributes:
        records: the videos; only their `mask_paths` are given to the network.
        root: folder of the result folders, `root/VIDEO/STEM.png`.
        run_file: JSON beside the results with the settings of the run and the videos that are
            finished, so that a folder never mixes results of different settings.
        settings: what the results depend on.
        binary: one object; masks are read as "any label" and written as 0/255 (DAVIS 2016).
        overwrite: redo finished videos.
        rgb_masks: what to do with masks that have no palette, "refuse" or "snap".
        is_part: the records are some of a data set, and it may be that none has an object.
    """

    records: Sequence[VideoRecord]
    root: Path
    run_file: Path
    settings: dict[str, Any]
    binary: bool = False
    overwrite: bool = False
    rgb_masks: Literal["refuse", "snap"] = "refuse"
    is_part: bool = False


@dataclass
class EvalStats:
    """Time and frames, file I/O excluded; videos that could not be done, with the reason."""

    seconds: float = 0.0
    frames: int = 0
    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """The closing lines of the original tools."""
        for name, reason in self.skipped.items():
            yield f"skipped {name}: {reason}"
        if self.kept:
            yield f"{len(self.kept)} videos were finished before and are kept (--overwrite redoes)"
        fps = self.frames / self.seconds if self.seconds else 0.0
        yield f"Total processing time: {self.seconds:.3f}"
        yield f"Total processed frames: {self.frames}"
        yield f"FPS: {fps:.3f}"


#: Called with every computed frame: record, frame index, prediction.
FrameHook = Callable[[VideoRecord, int, Prediction], None]


def evaluate(
    plan: EvalPlan,
    predictor: Predictor,
    *,
    hook: FrameHook | None = None,
    finished: Callable[[VideoRecord], None] | None = None,
    transform: Callable[[np.ndarray], np.ndarray] | None = None,
) -> EvalStats:
    """Segments every video of the plan that is not finished yet.

    Args:
        plan: see `EvalPlan`.
        predictor: reset before every video.
        hook: sees every computed frame from the first annotated one on.
        finished: called after each video.
        transform: applied to frames and masks before and to results after (a flip).

    Raises:
        UserError: the folder holds results of other settings, is in use, or cannot be written; a
            frame or mask is unusable; or there is no video with an object at all.
    """
    check_writable(plan.root)
    stats = EvalStats()
    with OutputLock(plan.root):
        log = RunLog(plan)
        with BackgroundWriter() as writer:
            for record in plan.records:
                if log.is_finished(record):
                    stats.kept.append(record.name)
                    continue
                masks, palette = read_masks(plan, record)
                if not masks:
                    stats.skipped[record.name] = "no annotated frame with an object"
                    continue
                seconds, frames = stats.seconds, stats.frames
                with closing(_predictions(record, masks, predictor, stats, transform)) as results:
                    for i, result in results:
                        if hook is not None:
                            hook(record, i, result)
                        if record.required is None or i in record.required:
                            mask = result.mask if transform is None else transform(result.mask)
                            _submit(writer, plan, _target(plan, record, i), mask, palette)
                if finished is not None:
                    finished(record)
                # A video counts as finished when its files are there, not when they are queued.
                writer.wait()
                stats.done.append(record.name)
                log.add(record, min(masks), stats.seconds - seconds, stats.frames - frames)
    if not (stats.done or stats.kept or plan.is_part):
        problems = [f"{name}: {reason}" for name, reason in stats.skipped.items()]
        raise DatasetError(list_problems("there is no video to segment", problems))
    return stats


def expected_files(plan: EvalPlan, record: VideoRecord, first: int) -> list[Path]:
    """Files of a finished video: its wanted frames from the first object's frame on."""
    return [_target(plan, record, i) for i in record.required_indices if i >= first]


class RunLog:
    """The run file: settings, and of each finished video the first frame with an object.

    Files alone do not tell whether a video is finished: they may be left from other settings by
    an interrupted run that was to overwrite them.

    Raises:
        UserError: the folder holds results of other settings that are not to be overwritten.
    """

    def __init__(self, plan: EvalPlan) -> None:
        self._plan = plan
        before = read_log(plan)
        changed = list(changes(before.get("settings", {}), plan.settings)) if before else []
        if changed and not plan.overwrite:
            raise UserError(
                f"{plan.root}: holds results of other settings ({'; '.join(changed)}); "
                "use --overwrite to redo them or another --output"
            )
        redone = {record.name for record in plan.records} if plan.overwrite else set()
        kept = {} if changed else before.get("videos", {})
        self._videos = {name: entry for name, entry in kept.items() if name not in redone}
        self._write()

    def is_finished(self, record: VideoRecord) -> bool:
        """Whether a video was finished with these settings and its files are still there."""
        entry = self._videos.get(record.name)
        if entry is None:
            return False
        files = expected_files(self._plan, record, entry["first"])
        # The last file appears last, so a missing one is usually found at once.
        return all(path.exists() for path in reversed(files))

    def add(self, record: VideoRecord, first: int, seconds: float, frames: int) -> None:
        """Notes a finished video: first frame with an object, time, computed frames."""
        self._videos[record.name] = {"first": first, "seconds": seconds, "frames": frames}
        self._write()

    def _write(self) -> None:
        timing = {
            name: sum(entry[name] for entry in self._videos.values())
            for name in ("seconds", "frames")
        }
        content = {"settings": self._plan.settings, "timing": timing, "videos": self._videos}
        write_json(self._plan.run_file, content)


def read_log(plan: EvalPlan) -> dict[str, Any]:
    """What the run file of a plan holds, nothing where there is none or it is to be overwritten.

    Raises:
        UserError: it is not the record of a run.
    """
    try:
        content = json.loads(plan.run_file.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    except FileNotFoundError:
        return {}
    except ValueError:
        pass
    if plan.overwrite:
        return {}
    raise UserError(
        f"{plan.run_file}: is not the record of a run; use --overwrite to redo the results"
    )


def _predictions(
    record: VideoRecord,
    masks: dict[int, np.ndarray],
    predictor: Predictor,
    stats: EvalStats,
    transform: Callable[[np.ndarray], np.ndarray] | None,
) -> Generator[tuple[int, Prediction], None, None]:
    """Results of one video; adds the time of everything but reading and writing to `stats`."""
    predictor.reset()
    if transform is not None:
        masks = {i: transform(mask) for i, mask in masks.items()}
    with open_source(record.frame_paths) as source:
        _check_sizes(record, masks, (source.height, source.width))
        images: Iterator[np.ndarray] = (frame.image for frame in source)
        reading = _Stopwatch(images if transform is None else map(transform, images))
        working = _Stopwatch(_labelled(predictor.stream(reading, masks, needed=record.required)))
        bar = tqdm(working, total=record.num_frames, desc=record.name, unit="frame", leave=False)
        try:
            for i, result in bar:
                if result is not None:
                    stats.frames += 1
                    yield i, result
        except (MaskError, VideoError) as error:
            raise type(error)(f"{record.name}: {error}") from error
        finally:
            stats.seconds += working.seconds - reading.seconds


def _check_sizes(record: VideoRecord, masks: dict[int, np.ndarray], size: tuple[int, int]) -> None:
    for i, mask in masks.items():
        if mask.shape != size:
            raise MaskError(
                f"{record.mask_paths[i]}: mask is {mask.shape[1]}x{mask.shape[0]}, "
                f"the frames of {record.name} are {size[1]}x{size[0]}"
            )


def _labelled(
    stream: Iterator[tuple[int, Prediction | None]],
) -> Iterator[tuple[int, Prediction | None]]:
    """Makes each label map where its time is measured."""
    for i, result in stream:
        if result is not None:
            _ = result.mask
        yield i, result


class _Stopwatch(Iterator[Any]):
    """Passes items on and sums the time spent waiting for them."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = iter(items)
        self.seconds = 0.0

    def __next__(self) -> Any:
        started = time.perf_counter()
        try:
            return next(self._items)
        finally:
            self.seconds += time.perf_counter() - started


def read_masks(
    plan: EvalPlan, record: VideoRecord
) -> tuple[dict[int, np.ndarray], np.ndarray | None]:
    """Annotations that name an object, and the palette of the last one that has any.

    Raises:
        MaskError: one of them is unusable.
    """
    masks, palette = {}, None
    colors: ColorIds = {}  # shared, so that a colour is the same object in all masks of a video
    for i, path in sorted(record.mask_paths.items()):
        if plan.binary:
            mask = (read_indices(path) > 0).astype(np.uint8)
        else:
            mask, own = read_mask_and_palette(path, rgb=plan.rgb_masks, color_ids=colors)
            palette = palette if own is None else own
        if object_ids(mask):
            masks[i] = mask
    return masks, palette


def _target(plan: EvalPlan, record: VideoRecord, i: int) -> Path:
    return plan.root / record.name / f"{record.frame_paths[i].stem}.png"


def _submit(
    writer: BackgroundWriter,
    plan: EvalPlan,
    path: Path,
    mask: np.ndarray,
    palette: np.ndarray | None,
) -> None:
    # The path is an argument of its own, so that the writer names it in errors.
    if plan.binary:
        writer.submit(write_binary_mask, path, mask > 0)
    else:
        writer.submit(write_mask, path, mask, palette)
