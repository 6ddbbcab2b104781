"""SAIL-VOS-cut: videos split at abrupt changes of scene, found or taken from a list.

Source: spec vatrack sections 4.2 (the list of the official split) and 4.3 (finding the changes).
"""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidseg_common.datasets.sailvos_convert import RawFile, number_instances
from vidseg_common.datasets.sailvos_writer import dump_lists
from vidseg_common.errors import DatasetError, list_problems
from vidseg_common.files import atomic_path, write_json
from vidseg_common.metrics.parallel import run_jobs

__all__ = [
    "Transfer",
    "create_sailvoscut_fromdict",
    "find_cuts",
    "sailvos2coco_cut",
    "scene_scores",
]

Transfer = Literal["none", "copy", "hardlink", "symlink", "move"]
"""What happens to a frame: nothing, a copy, a link of either sort, or a move."""

THRESHOLD = 27.0
MIN_LENGTH = 5  # frames of a piece
_SUFFIXES = (".png", ".bmp")
_MOST_NAMES = 8  # of missing frames of one folder in a message


def scene_scores(frames: Iterable[NDArray[np.uint8]]) -> Iterator[float]:
    """Yields how much each frame differs from the one before; 0 for the first.

    The mean over hue, saturation and value of the mean absolute difference. Colours are taken as
    BGR although the frames are RGB: so were the official cuts found.

    Args:
        frames: (H, W, 3) RGB, all of one size.
    """
    last: NDArray[np.uint8] | None = None
    for frame in frames:
        hsv = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2HSV), np.uint8)
        if last is None:
            yield 0.0
        else:
            sums = cv2.sumElems(cv2.absdiff(hsv, last))[:3]
            yield sum(total / float(hsv.shape[0] * hsv.shape[1]) for total in sums) / 3.0
        last = hsv


def find_cuts(
    scores: Sequence[float], *, threshold: float = THRESHOLD, min_length: int = MIN_LENGTH
) -> list[int]:
    """Finds the frames that begin a new piece.

    Args:
        scores: of every frame of a video, as `scene_scores` gives them.
        threshold: smallest score of a cut.
        min_length: smallest number of frames between cuts; more than so many follow the last.
    """
    cuts: list[int] = []
    for frame in range(1, len(scores) - 1):
        since_last = frame - (cuts[-1] if cuts else 0)
        left = len(scores) - 1 - frame
        if scores[frame] >= threshold and since_last >= min_length and left > min_length:
            cuts.append(frame)
    return cuts


def sailvos2coco_cut(
    source: str | Path,
    out: str | Path,
    *,
    frames: str | Path,
    frames_out: str | Path | None = None,
    transfer: Transfer = "none",
    notes: str | Path | None = None,
    workers: int = 1,
    progress: bool = False,
) -> list[str]:
    """Splits the videos of a file at changes of scene.

    Args:
        source: what `sailvos2coco` wrote.
        out: the JSON file to write.
        frames: folder that the file names of the images are relative to.
        frames_out: folder for the frames of the pieces; None for `frames`.
        transfer: how they get there. Frames are moved after the JSON file is written.
        notes: folder for what is known so far, from which an interrupted run goes on; it is gone
            when the run is done. None keeps no notes.
        workers: number of processes.
        progress: show a bar on stderr.

    Returns:
        What was left out, in words: nothing.

    Raises:
        DatasetError: the source has faults or frames are missing; all are listed.
    """
    fields = ("id", "image_id", "category_id", "instance_id")
    raw = RawFile(source, fields, progress=progress)
    shots = _frames_by_video(raw)
    jobs = _jobs_of(raw, shots, Path(frames), notes)
    sizes = [len(job.paths) for job in jobs]
    cuts = run_jobs(_cuts_of, jobs, sizes, workers=workers, progress=progress)
    pieces = _pieces(raw, shots, cuts)
    content: dict[str, Any] = {key: raw.lists[key] for key in ("categories", "models")}
    content["videos"] = [
        {
            "id": number,
            "name": name,
            "width": images[0]["width"],
            "height": images[0]["height"],
            "num_frames": len(images),
        }
        for number, (name, images) in enumerate(pieces, 1)
    ]
    content["images"] = [
        {**image, "video_id": number, "frame_id": frame, "file_name": _moved(image, name)}
        for number, (name, images) in enumerate(pieces, 1)
        for frame, image in enumerate(images)
    ]
    groups = [(n, [image["id"] for image in images]) for n, (_, images) in enumerate(pieces, 1)]
    content["annotations"] = number_instances(raw, groups, "instance_id")
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8") as handle:
        dump_lists(handle, content.items())
    target = Path(frames if frames_out is None else frames_out)
    names = [_moved(image, name) for name, images in pieces for image in images]
    for path, new in zip((path for job in jobs for path in job.paths), names, strict=True):
        is_there = _existing(target / new) is not None
        # An earlier run brought it there; one that moved it left nothing behind.
        if not (is_there and notes is not None and (transfer != "move" or not path.exists())):
            _transfer(path, (target / new).with_suffix(path.suffix), transfer)
    if notes is not None:
        shutil.rmtree(notes, ignore_errors=True)
    return []


def _frames_by_video(raw: RawFile) -> list[list[dict[str, Any]]]:
    by_video: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for image in raw.lists["images"]:
        by_video[image["video_id"]].append(image)
    return [
        sorted(by_video[video["id"]], key=lambda image: image["frame_id"])
        for video in raw.lists["videos"]
    ]


class _Job(NamedTuple):
    """The frames of a video, and the file in which its cuts are noted."""

    name: str
    paths: list[Path]
    note: Path | None


def _jobs_of(
    raw: RawFile, shots: list[list[dict[str, Any]]], root: Path, notes: str | Path | None
) -> list[_Job]:
    """Finds the frames; those of videos whose cuts are known may have been moved."""
    jobs, missing = [], []
    for number, (video, images) in enumerate(zip(raw.lists["videos"], shots, strict=True)):
        wanted = [root / image["file_name"] for image in images]
        found = [_existing(path) for path in wanted]
        note = None if notes is None else Path(notes) / f"{number}.json"
        paths = [path or other for path, other in zip(found, wanted, strict=True)]
        jobs.append(_Job(str(video["name"]), paths, note))
        if _noted(jobs[-1]) is None:
            missing += [other for path, other in zip(found, wanted, strict=True) if path is None]
    if missing:
        raise _not_found(missing)
    return jobs


def _noted(job: _Job) -> list[int] | None:
    """The cuts that an earlier run noted of the same video."""
    if job.note is None or not job.note.is_file():
        return None
    known = json.loads(job.note.read_text(encoding="utf-8"))
    is_same = (known["name"], known["num_frames"]) == (job.name, len(job.paths))
    return known["cuts"] if is_same else None


def _existing(path: Path) -> Path | None:
    """The file, or the one of the other image format where that is the one there."""
    candidates = [path, *(path.with_suffix(suffix) for suffix in _SUFFIXES)]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _not_found(missing: Sequence[Path]) -> DatasetError:
    """Names every folder with missing frames; there may be more than a hundred thousand."""
    names: dict[Path, list[str]] = defaultdict(list)
    for path in missing:
        names[path.parent].append(path.name)
    lines = []
    for folder, found in names.items():
        rest = f" and {len(found) - _MOST_NAMES} more" if len(found) > _MOST_NAMES else ""
        lines.append(f"{folder}: {', '.join(found[:_MOST_NAMES])}{rest}")
    return DatasetError(list_problems(f"{len(missing)} frames not found:", lines))


def _cuts_of(job: _Job) -> list[int]:
    cuts = _noted(job)
    if cuts is None:
        cuts = find_cuts(list(scene_scores(map(_read_rgb, job.paths))))
        if job.note is not None:
            known = {"name": job.name, "num_frames": len(job.paths), "cuts": cuts}
            write_json(job.note, known)
    return cuts


def _read_rgb(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise DatasetError(f"{path}: not a readable image ({error})") from None


def _pieces(
    raw: RawFile, shots: list[list[dict[str, Any]]], cuts: list[list[int]]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Name and images of every piece: each is named by the next cut, the last by its last frame."""
    pieces = []
    for video, images, starts in zip(raw.lists["videos"], shots, cuts, strict=True):
        bounds = [0, *starts, len(images)]
        for begin, end in pairwise(bounds):
            last = end if end < len(images) else len(images) - 1
            if images:
                pieces.append((f"{video['name']}__{last}", images[begin:end]))
    return pieces


def _moved(image: dict[str, Any], piece: str) -> str:
    return f"{piece}/{image['file_name'].partition('/')[2]}"


def create_sailvoscut_fromdict(
    structure: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    transfer: Transfer = "copy",
    workers: int = 1,
    progress: bool = False,
) -> int:
    """Makes the frames of SAIL-VOS-cut from those of SAIL-VOS and the list of the official split.

    Frames that are there already stay as they are, so an interrupted run goes on where it was.
    The list names `.bmp` files and the annotations `.png` files: either is taken, `.png` is
    written; frames in the other format are encoded anew without loss.

    Args:
        structure: `sailvos_cut_structure.json`: name of a piece to file names of its frames.
        source: frames of SAIL-VOS, `<video>/images/<frame>`.
        out: gets `<piece>/images/<frame>.png`.
        transfer: "copy", "hardlink" or "symlink".
        workers: number of processes.
        progress: show a bar on stderr.

    Returns:
        The number of frames of all pieces.

    Raises:
        DatasetError: the list is malformed, or frames are missing; all are listed.
    """
    pieces = _read_structure(Path(structure))
    jobs: list[tuple[list[tuple[Path, Path]], Transfer]] = []
    missing: list[Path] = []
    for piece, names in sorted(pieces.items()):
        pairs = []
        for name in names:
            wanted = Path(source) / piece.split("__")[0] / "images" / name
            found = _existing(wanted)
            if found is None:
                missing.append(wanted)
            else:
                target = Path(out) / piece / "images" / name
                pairs.append((found, target.with_suffix(".png")))
        jobs.append((pairs, transfer))
    if missing:
        raise _not_found(missing)
    sizes = [len(pairs) for pairs, _ in jobs]
    run_jobs(_place_piece, jobs, sizes, workers=workers, progress=progress)
    return sum(sizes)


def _read_structure(path: Path) -> dict[str, list[str]]:
    try:
        pieces = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(f"list of pieces not found: {path}") from None
    except ValueError as error:
        raise DatasetError(f"{path}: not a JSON file ({error})") from None
    if not isinstance(pieces, dict):
        raise DatasetError(f"{path}: expected an object: name of a piece to its frames")
    bad = [
        f"{piece!r}: expected a list of file names"
        for piece, names in pieces.items()
        if not isinstance(names, list) or not all(map(_is_file_name, [piece, *names]))
    ]
    if bad:
        raise DatasetError(list_problems(f"{path}:", bad))
    return pieces


def _is_file_name(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name


def _place_piece(job: tuple[list[tuple[Path, Path]], Transfer]) -> None:
    pairs, transfer = job
    for source, target in pairs:
        if not target.exists():
            _transfer(source, target, transfer)


def _transfer(source: Path, target: Path, transfer: Transfer) -> None:
    """Brings a frame to its place; where the formats differ it is encoded anew."""
    if transfer == "none" or source == target:
        return
    with atomic_path(target, durable=False) as temporary:
        if source.suffix != target.suffix:
            with Image.open(source) as image:
                image.save(temporary, compress_level=1)
        elif transfer == "hardlink":
            os.link(source, temporary)
        elif transfer == "symlink":
            temporary.symlink_to(source.resolve())
        else:
            shutil.copyfile(source, temporary)
    if transfer == "move":
        source.unlink()
