"""The files of KITTI-MOTS and MOTSChallenge: objects of one sequence, sequence maps, 16-bit masks.

An object id is class * 1000 + instance; class 1 is car, 2 pedestrian, 10 a region to ignore.
A sequence is a text file with one object per line, `frame id class height width rle`, or a folder
of 16-bit PNGs whose pixels are ids. Source: spec common section 1.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from vidseg_common.datasets.annotations import Problem
from vidseg_common.datasets.mots_text import good_columns
from vidseg_common.datasets.overlap import masks_of
from vidseg_common.errors import DatasetError, MaskError, list_problems
from vidseg_common.files import atomic_path
from vidseg_common.rle import RLE, counts_of, merge
from vidseg_common.rle_batch import any_overlap, check_masks

__all__ = [
    "CLASS_NAMES",
    "IDS_PER_CLASS",
    "IGNORE_CLASS",
    "IGNORE_ID",
    "MotsObject",
    "format_txt",
    "read_id_map",
    "read_seqmap",
    "read_sequence",
    "scan_sequence",
    "write_id_map",
]

IDS_PER_CLASS = 1000
IGNORE_CLASS = 10
IGNORE_ID = 10000
CLASS_NAMES = {1: "car", 2: "pedestrian"}

_FIELDS = ("frame", "id", "class", "height", "width", "rle")
_SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L", "I;16N")


class MotsObject(NamedTuple):
    """One object in one frame.

    Attributes:
        frame: number of the frame as the file counts it.
        track_id: id of the object, constant over the sequence.
        class_id: 1 car, 2 pedestrian, 10 ignore.
        rle: its mask.
    """

    frame: int
    track_id: int
    class_id: int
    rle: RLE


@dataclass(frozen=True)
class _Entry:
    """An object, and where in which file it was found."""

    object: MotsObject
    file: Path
    where: str

    def problem(self, field: str, message: str) -> Problem:
        return Problem(self.file, self.where, field, message)


def read_sequence(
    path: str | Path, *, num_frames: int | None = None, first_frame: int = 0
) -> list[MotsObject]:
    """Reads all objects of a sequence, sorted by frame, then id.

    Args:
        path: a text file in any order, also an empty one, or a folder of 16-bit PNGs.
        num_frames: length of the sequence, None where it is not known.
        first_frame: number of the first frame, 0 in KITTI-MOTS and 1 in MOTSChallenge.

    Raises:
        DatasetError: not of this form, a frame outside of the sequence, an id twice in a frame,
            overlapping masks, masks of different sizes, an unknown class; all are listed.
    """
    objects, problems = scan_sequence(path, num_frames=num_frames, first_frame=first_frame)
    if problems:
        header = f"the sequence {path} has {len(problems)} problem(s):"
        raise DatasetError(list_problems(header, map(str, problems)))
    return objects


def scan_sequence(
    path: str | Path, *, num_frames: int | None = None, first_frame: int = 0
) -> tuple[list[MotsObject], list[Problem]]:
    """Reads a sequence like `read_sequence`, but returns what is wrong beside what is right."""
    path = Path(path)
    stop = None if num_frames is None else first_frame + num_frames
    objects = None if path.is_dir() else _good_objects(path, first_frame, stop)
    if objects is not None:
        return objects, []
    problems: list[Problem] = []
    entries = _png_entries(path, problems) if path.is_dir() else _txt_entries(path, problems)
    for entry in entries:
        problems.extend(_problems_of_one(entry, first_frame, stop))
    entries.sort(key=lambda entry: (entry.object.frame, entry.object.track_id))
    problems.extend(_problems_between(entries))
    return [entry.object for entry in entries], problems


def _good_objects(path: Path, first: int, stop: int | None) -> list[MotsObject] | None:
    """The objects of a text file, None where anything is unusual or wrong."""
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    columns = good_columns(text, (first, stop), {*CLASS_NAMES, IGNORE_CLASS})
    if columns is None:
        return None
    *numbers, (height, width), counts = columns
    masks = [RLE(size=[height, width], counts=string) for string in counts]
    return list(map(MotsObject, *numbers, masks))


def _txt_entries(path: Path, problems: list[Problem]) -> list[_Entry]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        problems.append(Problem(path, "", "", "sequence not found"))
        return []
    except UnicodeDecodeError:
        problems.append(Problem(path, "", "", "not a text file of a MOTS sequence"))
        return []
    entries: list[_Entry] = []
    for number, line in enumerate(lines, start=1):
        where = f"line {number}"
        if not line.strip():
            continue
        try:
            entries.append(_Entry(_parse(line), path, where))
        except ValueError as error:
            problems.append(Problem(path, where, "", str(error)))
    return _with_clean_masks(entries, problems)


def _with_clean_masks(entries: list[_Entry], problems: list[Problem]) -> list[_Entry]:
    """The entries whose masks are well formed, all of them checked at once."""
    check = check_masks([entry.object.rle for entry in entries])
    for position in check.malformed:
        try:
            counts_of(entries[position].object.rle)
        except MaskError as error:
            problems.append(entries[position].problem("", str(error)))
    for position in check.uneven:
        entry = entries[position]
        clean = entry.object._replace(rle=merge([entry.object.rle]))
        entries[position] = replace(entry, object=clean)
    malformed = set(check.malformed)
    return [entry for position, entry in enumerate(entries) if position not in malformed]


def _parse(line: str) -> MotsObject:
    """Reads one line of a text file, but for its mask, which is not looked at yet.

    Raises:
        ValueError: not of the form.
    """
    fields = line.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"{len(fields)} fields, expected 6: {' '.join(_FIELDS)}")
    numbers: list[int] = []
    for name, text in zip(_FIELDS, fields[:5], strict=False):
        if not text.isdecimal():
            raise ValueError(f"{name} must be a whole number, not {text!r:.40}")
        numbers.append(int(text))
    frame, track_id, class_id, height, width = numbers
    rle = RLE(size=[height, width], counts=fields[5])
    return MotsObject(frame, track_id, class_id, rle)


def _png_entries(folder: Path, problems: list[Problem]) -> list[_Entry]:
    entries: list[_Entry] = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".png" or path.name.startswith("."):
            continue
        if not path.stem.isdecimal():
            message = "the name of a mask is its frame number, such as 000012.png"
            problems.append(Problem(path, "", "", message))
            continue
        try:
            masks = masks_of(read_id_map(path))
        except MaskError as error:
            problems.append(Problem.of_file(path, error))
            continue
        for i, rle in masks.items():
            found = MotsObject(int(path.stem), i, i // IDS_PER_CLASS, rle)
            entries.append(_Entry(found, path, f"id {i}"))
    return entries


def _problems_of_one(entry: _Entry, first: int, stop: int | None) -> Iterable[Problem]:
    found = entry.object
    if found.frame < first or (stop is not None and found.frame >= stop):
        last = "" if stop is None else str(stop - 1)
        message = f"frame {found.frame} is outside of the sequence ({first}..{last})"
        yield entry.problem("frame", message)
    if found.class_id not in CLASS_NAMES and found.class_id != IGNORE_CLASS:
        message = f"unknown class {found.class_id}: expected 1 (car), 2 (pedestrian) or 10 (ignore)"
        yield entry.problem("class", message)


def _problems_between(entries: Sequence[_Entry]) -> Iterable[Problem]:
    """What is wrong with objects together; they are sorted by frame, then id."""
    if not entries:
        return
    size = entries[0].object.rle["size"]
    for frame, group in groupby(entries, key=lambda entry: entry.object.frame):
        together = list(group)
        seen: set[int] = set()
        for entry in together:
            if entry.object.track_id in seen:
                message = f"id {entry.object.track_id} is in frame {frame} more than once"
                yield entry.problem("id", message)
            seen.add(entry.object.track_id)
            if entry.object.rle["size"] != size:
                got, want = ("x".join(map(str, s)) for s in (entry.object.rle["size"], size))
                yield entry.problem("height", f"a mask of {got} among masks of {want}")
        same = [entry for entry in together if entry.object.rle["size"] == size]
        if len(seen) == len(together) and any_overlap([entry.object.rle for entry in same]):
            yield from _overlaps(same)


def _overlaps(entries: Sequence[_Entry]) -> Iterable[Problem]:
    for one, other in combinations(entries, 2):
        if any_overlap([one.object.rle, other.object.rle]):
            ids = f"{one.object.track_id} and {other.object.track_id}"
            yield other.problem("rle", f"masks of {ids} overlap in frame {one.object.frame}")


def format_txt(objects: Iterable[MotsObject]) -> str:
    """Text of a sequence: one object per line, sorted by frame, then id."""
    ordered = sorted(objects, key=lambda found: (found.frame, found.track_id))
    return "".join(
        f"{o.frame} {o.track_id} {o.class_id} {o.rle['size'][0]} {o.rle['size'][1]} "
        f"{o.rle['counts']}\n"
        for o in ordered
    )


def read_seqmap(path: str | Path) -> list[tuple[str, int]]:
    """Reads a sequence map: lines such as `0000 empty 000000 000153`.

    Returns:
        Name of each sequence, a number with at least four digits, and the index of its last frame.

    Raises:
        DatasetError: missing, empty or not of this form; every bad line is named.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DatasetError(f"sequence map not found: {path}") from None
    except UnicodeDecodeError:
        raise DatasetError(f"not a text file: {path}") from None
    sequences: list[tuple[str, int]] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) >= 4 and fields[3].isdecimal():
            name = fields[0].zfill(4) if fields[0].isdecimal() else fields[0]
            sequences.append((name, int(fields[3])))
        elif fields:
            problems.append(f"line {number}: {line.strip()!r:.80}")
    if problems or not sequences:
        header = f'{path} is no sequence map: lines like "0000 empty 000000 000153" expected'
        raise DatasetError(list_problems(header, problems))
    return sequences


def read_id_map(path: str | Path) -> NDArray[np.int32]:
    """Reads a 16-bit mask.

    Returns:
        (H, W) object ids.

    Raises:
        MaskError: missing, unreadable, cut off, or not one channel of 16 bits.
    """
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode in _SIXTEEN_BITS:
                return np.asarray(image).astype(np.int32)
            mode = image.mode
    except FileNotFoundError:
        raise MaskError(f"mask not found: {path}") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise MaskError(f"cannot read the mask {path}: {error}") from error
    raise MaskError(f"{path} is not a MOTS mask: one channel of 16 bits expected, not mode {mode}")


def write_id_map(path: str | Path, id_map: NDArray[np.integer]) -> None:
    """Writes an id map as 16-bit PNG; the file appears only when it is complete.

    Args:
        path: name of the PNG.
        id_map: (H, W) ids in 0..65535.

    Raises:
        MaskError: not two-dimensional, or ids that do not fit.
        OSError: the file cannot be written.
    """
    if id_map.ndim != 2 or 0 in id_map.shape:
        raise MaskError(f"an id map has two dimensions, not shape {id_map.shape}")
    if int(id_map.min()) < 0 or int(id_map.max()) > np.iinfo(np.uint16).max:
        raise MaskError(f"ids of a 16-bit mask are 0..65535, not {int(id_map.max())}")
    image = Image.fromarray(np.ascontiguousarray(id_map, np.uint16))
    # Masks are many and can be redone: waiting for the disk for each would cost more than them.
    with atomic_path(path, durable=False) as temporary:
        image.save(temporary, format="PNG", compress_level=1)
