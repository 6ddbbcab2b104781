"""Checks the entries of a YouTube-VIS or OVIS file and turns them into records.

T is the number of frames of a video. Frames count from 0 in messages.
Source: spec common sections 1.4 and 5.1 to 5.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from vidseg_common.datasets.annotations import Category, Track, Video
from vidseg_common.datasets.json_masks import is_finite, parse_segmentation
from vidseg_common.datasets.problem_log import ProblemLog
from vidseg_common.errors import MaskError
from vidseg_common.rle import RLE, area
from vidseg_common.rle_batch import are_good

__all__ = ["OCCLUSION_LEVELS", "parse_category", "parse_track", "parse_video", "take_id"]

OCCLUSION_LEVELS = ("no_occlusion", "slight_occlusion", "severe_occlusion")

_VIDEO_FIELDS = ("id", "width", "height", "length", "file_names", "name")
# "length" of an annotation means nothing; its width and height are those of the video.
_TRACK_FIELDS = (
    *("id", "video_id", "category_id", "iscrowd", "segmentations", "areas", "bboxes"),
    *("occlusion", "width", "height", "length"),
)
_SIZE, _COUNTS = itemgetter("size"), itemgetter("counts")
_FINITE = 1e300
_BOX_TOLERANCE = 1.0
"""Pixels by which a box or polygon may leave the frame: files round in several ways."""
_LONGEST_EMPTY = 7
"""Characters of the largest number that a run-length string holds."""


def take_id(
    entry: Any, where: str, seen: Collection[int], log: ProblemLog, field: str = "id"
) -> int | None:
    """The number of an entry; None, with an error, where it has none or it is taken."""
    if not isinstance(entry, dict):
        log.error(where, "", f"expected an object, found {entry!r:.40}")
        return None
    number = entry.get(field)
    if type(number) is not int:
        log.error(where, field, f"expected a whole number, found {_found(entry, field)}")
        return None
    if number in seen:
        log.error(where, field, f"the id {number} occurs more than once")
        return None
    return number


def parse_category(entry: dict[str, Any], number: int, log: ProblemLog) -> Category:
    """Reads a category whose id is known to be good."""
    where = f"category {number}"
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        log.error(where, "name", f"expected a name, found {_found(entry, 'name')}")
        name = str(number)
    group = entry.get("supercategory")
    return Category(number, name, group if isinstance(group, str) else "")


def parse_video(entry: dict[str, Any], number: int, log: ProblemLog) -> Video | None:
    """Reads a video whose id is known to be good; None, with errors, where it cannot be used."""
    where = f"video {number}"
    sizes = {field: _size(entry, field, where, log) for field in ("height", "width")}
    names = _file_names(entry, where, log)
    if names is None or None in sizes.values():
        return None
    if "length" not in entry:
        log.note(where, "length", "missing; some tools need it")
    elif entry["length"] != len(names):
        log.error(where, "length", f"is {entry['length']!r}, but file_names has {len(names)} names")
    if len(set(names)) < len(names):
        log.note(where, "file_names", "a frame is listed more than once")
    given = entry.get("name")
    return Video(
        id=number,
        name=given if isinstance(given, str) and given else name_of_video(number, names),
        height=sizes["height"] or 0,
        width=sizes["width"] or 0,
        file_names=tuple(names),
        extra={key: value for key, value in entry.items() if key not in _VIDEO_FIELDS},
    )


def name_of_video(number: int, file_names: Collection[str]) -> str:
    """Name of a video that only its frames tell: their folder, else its number."""
    folder = PurePosixPath(next(iter(file_names), "")).parent.name
    return folder or str(number)


def parse_track(
    entry: dict[str, Any], number: int, video: Video, log: ProblemLog, *, thorough: bool = True
) -> Track | None:
    """Reads an annotation whose ids are known to be good.

    Args:
        entry: the annotation.
        number: its id.
        video: the video it belongs to.
        log: gets what is wrong.
        thorough: decode run lengths to see that they are good, and note oddities.

    Returns:
        The object, None where its masks cannot be used.
    """
    where = f"annotation {number}"
    size = (video.height, video.width)
    masks = parse_masks(entry, where, video.num_frames, size, log, check_runs=thorough)
    lists: dict[str, Any] = {
        field: _frame_values(entry, field, where, video.num_frames, log) for field in _EXPECTED
    }
    for field in ("areas", "bboxes"):
        if entry.get(field) is None:
            log.note(where, field, "missing; the official tools need it")
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        log.error(where, "iscrowd", f"expected 0 or 1, found {crowd!r:.40}")
    if masks is None:
        return None
    if thorough:
        _note_oddities(entry, where, masks, lists, video, log)
    return Track(
        id=number,
        category_id=entry.get("category_id", 0),
        segmentations=masks,
        is_crowd=crowd == 1,
        **lists,
        extra={key: value for key, value in entry.items() if key not in _TRACK_FIELDS},
    )


def parse_masks(
    entry: Mapping[str, Any],
    where: str,
    num_frames: int,
    size: tuple[int, int],
    log: ProblemLog,
    *,
    check_runs: bool = True,
) -> list[RLE | None] | None:
    """Reads the masks of an object, None, with errors, where they cannot be used.

    Args:
        entry: what has `segmentations`.
        where: what messages call it.
        num_frames: T.
        size: (H, W) of the frames.
        log: gets what is wrong.
        check_runs: decode run lengths that are strings to see that they are good.
    """
    if not _has_length(entry, "segmentations", where, num_frames, log):
        return None
    plain = _plain_masks(entry["segmentations"], size, check_runs)
    if plain is not None:
        return plain
    masks: list[RLE | None] = []
    is_good = True
    for frame_idx, value in enumerate(entry["segmentations"]):
        try:
            masks.append(None if value is None else parse_segmentation(value, *size))
        except MaskError as error:
            log.error(f"{where}, frame {frame_idx}", "segmentations", str(error))
            is_good = False
    return masks if is_good else None


def _plain_masks(
    values: list[Any], size: tuple[int, int], check_runs: bool
) -> list[RLE | None] | None:
    """Reads good masks of compressed run lengths, much faster than one by one; else None."""
    given = [value for value in values if value is not None]
    if set(map(type, given)) - {dict}:
        return None
    try:
        sizes, counts = list(map(_SIZE, given)), list(map(_COUNTS, given))
    except KeyError:
        return None
    # Two comparisons: 360.0 and True would pass the first.
    if sizes.count(list(size)) != len(sizes) or set(map(type, chain(*sizes))) - {int}:
        return None
    kinds = set(map(type, counts))
    if kinds - {str} and (check_runs or kinds - {np.ndarray}):
        return None
    if check_runs and not are_good(counts, size[0] * size[1]):
        return None
    if set(map(len, given)) <= {2}:
        return values
    return [v if v is None else {"size": v["size"], "counts": v["counts"]} for v in values]


def _size(entry: Mapping[str, Any], field: str, where: str, log: ProblemLog) -> int | None:
    value = entry.get(field)
    if type(value) is int and value > 0:
        return value
    log.error(where, field, f"expected a positive whole number, found {_found(entry, field)}")
    return None


def _file_names(entry: Mapping[str, Any], where: str, log: ProblemLog) -> list[str] | None:
    names = entry.get("file_names")
    if not isinstance(names, list) or not names:
        log.error(where, "file_names", "expected a list with one name per frame")
        return None
    for name in names:
        if not isinstance(name, str) or not name:
            log.error(where, "file_names", f"expected names of images, found {name!r:.40}")
            return None
        if name.startswith("/") or (".." in name and ".." in PurePosixPath(name).parts):
            log.error(where, "file_names", f"{name!r} leads out of the folder of images")
            return None
    return names


def _has_length(
    entry: Mapping[str, Any], field: str, where: str, num_frames: int, log: ProblemLog
) -> bool:
    values = entry.get(field)
    if not isinstance(values, list):
        log.error(
            where, field, f"expected a list of {num_frames} entries, found {_found(entry, field)}"
        )
        return False
    if len(values) != num_frames:
        log.error(where, field, f"has {len(values)} entries, the video {num_frames} frames")
        return False
    return True


def _frame_values(
    entry: Mapping[str, Any],
    field: str,
    where: str,
    num_frames: int,
    log: ProblemLog,
) -> list[Any] | None:
    """A list with one value or null per frame as the file has it, None where it is absent.

    Args:
        entry: the annotation.
        field: name of the list.
        where: what messages call the annotation.
        num_frames: T.
        log: gets what is wrong.
    """
    if entry.get(field) is None or not _has_length(entry, field, where, num_frames, log):
        return None
    are_all_good, is_good, expected = _EXPECTED[field]
    given = [value for value in entry[field] if value is not None]
    if given and not are_all_good(given):
        for frame_idx, value in enumerate(entry[field]):
            if value is not None and not is_good(value):
                message = f"expected {expected} or null, found {value!r:.60}"
                log.error(f"{where}, frame {frame_idx}", field, message)
    return list(entry[field])


def _are_finite(values: list[Any]) -> bool:
    # A NaN may hide from the greatest value, but not from the sum.
    is_number = not set(map(type, values)) - {int, float}
    return is_number and max(map(abs, values)) < _FINITE and not math.isnan(sum(values))


def _is_area(value: Any) -> bool:
    return is_finite(value) and value >= 0


def _are_areas(values: list[Any]) -> bool:
    """Whether all are areas; errs on the side of False, as the other checks of many values."""
    return _are_finite(values) and min(values) >= 0


def _is_box(value: Any) -> bool:
    is_box = isinstance(value, list) and len(value) == 4 and all(map(is_finite, value))
    return is_box and value[2] >= 0 and value[3] >= 0


def _are_boxes(values: list[Any]) -> bool:
    if set(map(type, values)) != {list} or set(map(len, values)) != {4}:
        return False
    numbers = list(chain(*values))
    return _are_finite(numbers) and min(numbers[2::4]) >= 0 and min(numbers[3::4]) >= 0


def _is_level(value: Any) -> bool:
    return isinstance(value, str) and value in OCCLUSION_LEVELS


def _are_levels(values: list[Any]) -> bool:
    return set(map(type, values)) == {str} and not set(values) - set(OCCLUSION_LEVELS)


# Of a list with one value per frame: a fast check of all values, one of a single value, and what
# is expected.
_EXPECTED: dict[str, tuple[Callable[[list[Any]], bool], Callable[[Any], bool], str]] = {
    "areas": (_are_areas, _is_area, "a number of pixels"),
    "bboxes": (_are_boxes, _is_box, "a box [x, y, width, height] of finite numbers"),
    "occlusion": (_are_levels, _is_level, ", ".join(OCCLUSION_LEVELS)),
}


def _note_oddities(
    entry: Mapping[str, Any],
    where: str,
    masks: list[RLE | None],
    lists: Mapping[str, list[Any] | None],
    video: Video,
    log: ProblemLog,
) -> None:
    """Notes what a reader can live with."""
    if entry["id"] == 0:
        log.note(where, "id", "is 0, which the official tool takes for an unmatched object")
    if "iscrowd" not in entry:
        log.note(where, "iscrowd", "missing; taken as 0")
    for field in ("height", "width"):
        if field in entry and entry[field] != getattr(video, field):
            log.note(where, field, f"is {entry[field]!r}, the video has {getattr(video, field)}")
    if not any(mask is not None for mask in masks):
        log.note(where, "segmentations", "the object is visible in no frame")
    for field, values in lists.items():
        for frame_idx, (mask, value) in enumerate(zip(masks, values or (), strict=False)):
            if (mask is None) != (value is None):
                message = "null, but there is a mask" if mask else "a value, but there is no mask"
                log.note(f"{where}, frame {frame_idx}", field, message)
    size = f"{video.height}x{video.width} (height x width)"
    for frame_idx, box in enumerate(lists["bboxes"] or ()):
        if box is not None and _is_box(box) and not _is_inside(box, video):
            message = f"the box {box} reaches out of the frame of {size}"
            log.note(f"{where}, frame {frame_idx}", "bboxes", message)
    for frame_idx, (mask, value) in enumerate(zip(masks, entry["segmentations"], strict=True)):
        if isinstance(value, list) and not _is_inside(_box_around(value), video):
            message = f"a polygon reaches out of the frame of {size}"
            log.note(f"{where}, frame {frame_idx}", "segmentations", message)
        # A mask without pixels is a single number, which makes most masks quick to pass over.
        if mask is not None and len(mask["counts"]) <= _LONGEST_EMPTY and not area(mask):
            log.note(f"{where}, frame {frame_idx}", "segmentations", "the mask has no pixel")


def _box_around(polygons: Sequence[Sequence[float]]) -> list[float]:
    xs = [x for polygon in polygons for x in polygon[0::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _is_inside(box: list[float], video: Video) -> bool:
    x, y, width, height = box
    return (
        min(x, y) >= -_BOX_TOLERANCE
        and x + width <= video.width + _BOX_TOLERANCE
        and y + height <= video.height + _BOX_TOLERANCE
    )


def _found(entry: Mapping[str, Any], field: str) -> str:
    return repr(entry[field])[:40] if field in entry else "nothing"
