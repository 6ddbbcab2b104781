"""Writes synthetic videos in the layouts of DAVIS and YouTube-VOS (spec common 1.1-1.3).

Videos are taken one by one from an iterable, so that a generator never holds more than one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vidseg_common.background import write_image
from vidseg_common.errors import ConfigError, DatasetError
from vidseg_common.files import write_json, write_text
from vidseg_common.masks import write_binary_mask, write_mask
from vidseg_common.synthetic_render import SyntheticVideo

FRAME_STEP = 5
"""YouTube-VOS annotates every 5th frame of a 30-fps video."""


def write_davis(
    videos: Iterable[SyntheticVideo],
    root: str | Path,
    *,
    year: int = 2017,
    split: str = "val",
    resolution: str = "480p",
) -> list[str]:
    """Write videos as DAVIS 2017 or 2016 has them.

    The folder "480p" is only a name: frames keep their size. Test splits of 2017 get the first
    annotation alone. The list of the split is written last and replaces an older one.

    Args:
        videos: What to write; names must differ.
        root: Folder that gets JPEGImages, Annotations and ImageSets.
        year: 2017 for palette masks with ids, 2016 for one object, 0 and 255.
        split: Name of the list: "train", "val", "test-dev"...
        resolution: Name of the folder of the resolution.

    Returns:
        The names of the videos.

    Raises:
        ConfigError: Another year.
        DatasetError: Two videos have one name, or there is none.
        OSError: A file cannot be written.
    """
    if year not in (2016, 2017):
        raise ConfigError(f"DAVIS has the years 2016 and 2017, not {year}")
    root = Path(root)
    is_test = split.startswith("test")
    names: list[str] = []
    lines: list[str] = []
    for video in videos:
        _note_name(names, video.name)
        lines += _write_davis_video(video, root, year, resolution, is_test)
    _check_not_empty(names)
    _write_lines(root / "ImageSets" / str(year) / f"{split}.txt", names)
    if year == 2016:
        _write_lines(root / "ImageSets" / resolution / f"{split}.txt", lines)
    return names


def write_youtube_vos(
    videos: Iterable[SyntheticVideo],
    root: str | Path,
    split: str = "valid",
    *,
    ground_truth: str | Path | None = None,
) -> list[str]:
    """Write videos as YouTube-VOS has them.

    Every 5th frame goes into the split, all into ``all_frames`` (not for "train"). "train" has a
    mask for each frame of the split, the others only where an object is first seen, of it alone.

    Args:
        videos: What to write; names must differ.
        root: Folder that gets ``<split>`` and ``all_frames``.
        split: "train", "valid" or "test".
        ground_truth: Folder for the complete masks, ``<video>/NNNNN.png``; None writes none.

    Returns:
        The names of the videos.

    Raises:
        ConfigError: Another split.
        DatasetError: Two videos have one name, there is none, or no object is ever seen.
        OSError: A file cannot be written.
    """
    if split not in ("train", "valid", "test"):
        raise ConfigError(f"YouTube-VOS has the splits train, valid and test, not {split!r}")
    root, names, meta = Path(root), list[str](), dict[str, Any]()
    for video in videos:
        _note_name(names, video.name)
        steps = range(0, len(video.frames), FRAME_STEP)
        first_seen = _first_seen(video, steps)
        meta[video.name] = {"objects": _object_entries(video, steps, first_seen)}
        _write_frames(root / split / "JPEGImages", video, steps)
        if split != "train":
            every = range(len(video.frames))
            _write_frames(root / "all_frames" / f"{split}_all_frames" / "JPEGImages", video, every)
        for t in steps:
            _write_annotation(root / split / "Annotations", video, t, first_seen, split == "train")
            if ground_truth is not None:
                write_mask(Path(ground_truth) / video.name / f"{t:05d}.png", video.visible[t])
    _check_not_empty(names)
    write_json(root / split / "meta.json", {"videos": meta})
    return names


def _write_davis_video(
    video: SyntheticVideo, root: Path, year: int, resolution: str, is_test: bool
) -> list[str]:
    """Write one video and return its lines in the list of DAVIS 2016."""
    lines = []
    for t, (frame, mask) in enumerate(zip(video.frames, video.visible, strict=True)):
        image = f"JPEGImages/{resolution}/{video.name}/{t:05d}.jpg"
        annotation = f"Annotations/{resolution}/{video.name}/{t:05d}.png"
        lines.append(f"/{image} /{annotation}")
        write_image(root / image, frame)
        if year == 2016:
            write_binary_mask(root / annotation, mask > 0)
        elif t == 0 or not is_test:
            write_mask(root / annotation, mask)
    return lines


def _note_name(names: list[str], name: str) -> None:
    if name in names:
        raise DatasetError(f"two videos are called {name}")
    names.append(name)


def _check_not_empty(names: list[str]) -> None:
    if not names:
        raise DatasetError("there is no video to write")


def _write_lines(path: Path, lines: list[str]) -> None:
    write_text(path, "".join(f"{line}\n" for line in lines))


def _write_frames(folder: Path, video: SyntheticVideo, steps: range) -> None:
    for t in steps:
        write_image(folder / video.name / f"{t:05d}.jpg", video.frames[t])


def _first_seen(video: SyntheticVideo, steps: range) -> dict[int, int]:
    """Return, for every object that is ever seen, the first frame of the split that shows it."""
    first: dict[int, int] = {}
    for t in steps:
        for object_id in np.unique(video.visible[t]).tolist():
            if object_id:
                first.setdefault(object_id, t)
    if not first:
        raise DatasetError(f"{video.name}: no object is visible in any annotated frame")
    return first


def _object_entries(
    video: SyntheticVideo, steps: range, first_seen: dict[int, int]
) -> dict[str, dict[str, Any]]:
    """Return the objects of one video as meta.json has them."""
    classes = dict(zip(video.object_ids, video.classes, strict=True))
    return {
        str(object_id): {
            "category": classes[object_id],
            "frames": [f"{t:05d}" for t in steps if t >= start],
        }
        for object_id, start in sorted(first_seen.items())
    }


def _write_annotation(
    folder: Path, video: SyntheticVideo, t: int, first_seen: dict[int, int], complete: bool
) -> None:
    """Write the mask of one frame if its split has one."""
    mask = video.visible[t]
    if not complete:
        new = [object_id for object_id, start in first_seen.items() if start == t]
        if not new:
            return
        mask = np.where(np.isin(mask, new), mask, 0)
    write_mask(folder / video.name / f"{t:05d}.png", mask)
