"""Runs a data set's videos through a predictor and writes their masks, restartably."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from stcn.inference.predictor import Prediction, Predictor
from vidseg_common.datasets.records import VideoRecord
from vidseg_common.errors import MaskError, UserError, VideoError
from vidseg_common.files import OutputLock, check_writable, write_json
from vidseg_common.masks import (
    object_ids,
    read_indices,
    read_mask_and_palette,
    write_binary_mask,
    write_mask,
)
from vidseg_common.video import BackgroundWriter, open_source


@dataclass(frozen=True)
class EvalPlan:
    """What a tool writes and where.

    Attributes:
        records: the videos; only their `mask_paths` are given to the network.
        root: folder of the result folders, `root/VIDEO/STEM.png`.
        run_file: JSON with the settings of the run, beside the results, so that a folder never
            mixes results of different settings.
        settings: what the results depend on.
        binary: one object; masks are read as "any label" and written as 0/255 (DAVIS 2016).
        overwrite: redo finished videos.
        rgb_masks: what to do with masks that have no palette, "refuse" or "snap".
    """

    records: Sequence[VideoRecord]
    root: Path
    run_file: Path
    settings: dict[str, Any]
    binary: bool = False
    overwrite: bool = False
    rgb_masks: str = "refuse"


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
        UserError: the folder holds results of other settings, is in use, or cannot be written.
    """
    check_writable(plan.root)
    stats = EvalStats()
    with OutputLock(plan.root):
        _check_settings(plan)
        write_json(plan.run_file, {"settings": plan.settings})
        with BackgroundWriter() as writer:
            for record in plan.records:
                if not plan.overwrite and _is_finished(plan, record):
                    stats.kept.append(record.name)
                    continue
                masks, palette = _read_masks(plan, record)
                if not masks:
                    stats.skipped[record.name] = "no annotated frame with an object"
                    continue
                for i, result in _predictions(record, masks, predictor, stats, transform):
                    if hook is not None:
                        hook(record, i, result)
                    if record.required is None or i in record.required:
                        mask = result.mask if transform is None else transform(result.mask)
                        writer.submit(_write, plan, record, i, mask, palette)
                if finished is not None:
                    finished(record)
                stats.done.append(record.name)
    write_json(plan.run_file, {"settings": plan.settings, "timing": _timing(stats)})
    return stats


def expected_files(plan: EvalPlan, record: VideoRecord) -> list[Path]:
    """Files of a finished video: its wanted frames from the first annotated one on."""
    first = min(record.mask_paths, default=record.num_frames)
    wanted = range(record.num_frames) if record.required is None else sorted(record.required)
    return [_target(plan, record, i) for i in wanted if i >= first]


def _is_finished(plan: EvalPlan, record: VideoRecord) -> bool:
    files = expected_files(plan, record)
    # The last file appears last, so a missing one is usually found at once.
    return bool(files) and all(path.exists() for path in reversed(files))


def _check_settings(plan: EvalPlan) -> None:
    if plan.overwrite or not plan.run_file.exists():
        return
    before = json.loads(plan.run_file.read_text()).get("settings", {})
    changed = [
        f"{key} was {before.get(key)!r}, now {value!r}"
        for key, value in plan.settings.items()
        if before.get(key) != value
    ]
    if changed:
        raise UserError(
            f"{plan.root}: holds results of other settings ({'; '.join(changed)}); "
            "use --overwrite to redo them or another --output"
        )


def _predictions(
    record: VideoRecord,
    masks: dict[int, np.ndarray],
    predictor: Predictor,
    stats: EvalStats,
    transform: Callable[[np.ndarray], np.ndarray] | None,
) -> Iterator[tuple[int, Prediction]]:
    """Results of one video; adds the time of everything but reading and writing to `stats`."""
    predictor.reset()
    if transform is not None:
        masks = {i: transform(mask) for i, mask in masks.items()}
    with open_source(record.frame_paths) as source:
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


def _read_masks(
    plan: EvalPlan, record: VideoRecord
) -> tuple[dict[int, np.ndarray], np.ndarray | None]:
    """Annotations that name an object, and the palette of the last one that has any."""
    masks, palette = {}, None
    for i, path in sorted(record.mask_paths.items()):
        if plan.binary:
            mask = (read_indices(path) > 0).astype(np.uint8)
        else:
            mask, own = read_mask_and_palette(path, rgb=plan.rgb_masks)
            palette = palette if own is None else own
        if object_ids(mask):
            masks[i] = mask
    return masks, palette


def _target(plan: EvalPlan, record: VideoRecord, i: int) -> Path:
    return plan.root / record.name / f"{record.frame_paths[i].stem}.png"


def _write(
    plan: EvalPlan, record: VideoRecord, i: int, mask: np.ndarray, palette: np.ndarray | None
) -> None:
    if plan.binary:
        write_binary_mask(_target(plan, record, i), mask > 0)
    else:
        write_mask(_target(plan, record, i), mask, palette)


def _timing(stats: EvalStats) -> dict[str, float]:
    return {"seconds": stats.seconds, "frames": stats.frames}
