"""Filters KITTI-MOTS result files: small, sparse, broken and short tracks go.

Source: spec section 9.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from stemseg.outputs.kitti_mots import format_lines
from vidseg_common import rle
from vidseg_common.datasets.mots_files import MotsObject
from vidseg_common.errors import DatasetError
from vidseg_common.files import write_text

CAR = 1
NAME_PATTERN = "????.txt"


@dataclass(frozen=True)
class ClassFilter:
    """Limits for the tracks of one class.

    Attributes:
        min_area: pixels of a mask.
        min_area_ratio: pixels of a mask by pixels of its box; has to be above.
        max_time_break_ratio: gaps of more than one frame by number of masks.
        min_track_length: number of masks.
    """

    min_area: int
    min_area_ratio: float
    max_time_break_ratio: float
    min_track_length: int


@dataclass(frozen=True)
class Filters:
    """Limits of both classes."""

    car: ClassFilter = ClassFilter(150, 0.35, 0.3, 3)
    person: ClassFilter = ClassFilter(250, 0.2, 0.5, 10)

    def of(self, class_id: int) -> ClassFilter:
        """Limits of a class; all but cars count as persons."""
        return self.car if class_id == CAR else self.person


Track = Sequence[MotsObject]


def filter_objects(objects: Sequence[MotsObject], filters: Filters) -> list[MotsObject]:
    """What is left of a sequence: grouped by track in order of first occurrence, by frame.

    Args:
        objects: in any order.
        filters: see `Filters`.
    """
    kept = [found for found in objects if _is_solid(found, filters.of(found.class_id))]
    tracks: dict[int, list[MotsObject]] = {}
    for found in kept:
        tracks.setdefault(found.track_id, []).append(found)
    ordered = [sorted(track, key=lambda found: found.frame) for track in tracks.values()]
    rules: tuple[Callable[[Track, ClassFilter], bool], ...] = (_is_steady, _is_long)
    for rule in rules:
        ordered = [track for track in ordered if rule(track, filters.of(track[0].class_id))]
    return [found for track in ordered for found in track]


def _is_solid(found: MotsObject, limits: ClassFilter) -> bool:
    area = rle.area(found.rle)
    if area < limits.min_area or area == 0:
        return False
    _, _, width, height = rle.to_bbox(found.rle)
    return area / (width * height) > limits.min_area_ratio


def _is_steady(track: Track, limits: ClassFilter) -> bool:
    frames = [found.frame for found in track]
    gaps = sum(later - earlier > 1 for earlier, later in pairwise(frames))
    return gaps / len(frames) <= limits.max_time_break_ratio


def _is_long(track: Track, limits: ClassFilter) -> bool:
    return len(track) >= limits.min_track_length


def read_objects(path: Path) -> list[MotsObject]:
    """Lines of a result file in their order; empty masks are allowed.

    Raises:
        DatasetError: a line that is not `frame track class height width rle`.
    """
    objects = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            frame, track_id, class_id, height, width = (int(word) for word in words[:5])
            (counts,) = words[5:]
        except ValueError:
            raise DatasetError(
                f"{path}: line {number}: expected `frame track class height width rle`, "
                f"found {line[:60]!r}"
            ) from None
        mask: rle.RLE = {"size": [height, width], "counts": counts}
        objects.append(MotsObject(frame, track_id, class_id, mask))
    return objects


def filter_folder(folder: Path, suffix: str, filters: Filters) -> list[Path]:
    """Filters every `????.txt` of a folder into the folder with a suffix to its name.

    Raises:
        DatasetError: there is no such folder or no such file in it, or a malformed line.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder of result files")
    files = sorted(folder.glob(NAME_PATTERN))
    if not files:
        raise DatasetError(f"{folder}: holds no result files ({NAME_PATTERN})")
    named = folder if folder.name not in ("", "..") else folder.resolve()
    target = named.with_name(f"{named.name}{suffix}")
    for file in files:
        write_text(target / file.name, format_lines(filter_objects(read_objects(file), filters)))
    return [target / file.name for file in files]
