"""Reads and checks the content of COCO files: images, classes, objects.

A problem that makes an object unusable stops reading; a remark is only told by validation (such
as a box that leaves the image: COCO itself has some). Source: spec common section 1.6.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from vidseg_common import rle
from vidseg_common.datasets.annotations import Category
from vidseg_common.datasets.coco_file import NO_CATEGORY, CocoFile
from vidseg_common.datasets.coco_rows import CocoObject
from vidseg_common.datasets.json_stream import iter_entries
from vidseg_common.errors import MaskError

_OBJECT_FIELDS = {
    *("id", "image_id", "category_id", "iscrowd", "area", "bbox", "segmentation"),
}
_TOLERANCE = 1.0
"""Pixels that boxes and polygons may leave the image by: annotators click beside it."""


def scan(path: str | Path, *, thorough: bool = False, progress: bool = False) -> CocoFile:
    """Reads an annotation file to its end, noting all problems on the way.

    Args:
        path: the JSON file.
        thorough: also collect remarks.
        progress: show a bar on stderr.

    Raises:
        DatasetError: the file is missing or no JSON.
    """
    content = CocoFile(Path(path), thorough)
    keys = ("info", "licenses", "images", "annotations", "categories")
    met: set[str] = set()
    images_are_known = False
    for key, index, value in iter_entries(path, keys, progress=progress):
        met.add(key)
        if key == "annotations" and not images_are_known:
            # Masks need the sizes of the images, which may come later in the file.
            images_are_known = "images" in met or _read_images_first(content, path)
        if key == "info" or index is None:
            _read_whole(content, key, value)
        elif key == "images" and not images_are_known:
            _read_image(content, value, index)
        elif key == "annotations":
            _read_annotation(content, value, index)
        elif key == "categories":
            _read_category(content, value, index)
        elif key == "licenses":
            content.info.setdefault("licenses", []).append(value)
    for key in ("images", "categories"):
        if key not in met:
            content.note("", key, "the file has no such list")
    check_between(content, "annotation")
    return content


def _read_images_first(content: CocoFile, path: str | Path) -> bool:
    for _, index, value in iter_entries(path, ("images",)):
        if index is not None:
            _read_image(content, value, index)
    return True


def _read_whole(content: CocoFile, key: str, value: Any) -> None:
    """A value that is no item of a list, or the list without items."""
    if key == "info":
        content.info.update(value if isinstance(value, dict) else {})
    elif key == "annotations":
        content.has_annotations = value is not None
    if value != [] and key in ("images", "categories", "annotations") and value is not None:
        content.note("", key, "expected a list")


def _read_image(content: CocoFile, entry: Any, index: int) -> None:
    number = entry.get("id") if isinstance(entry, dict) else None
    if not is_int(number):
        content.note(f"image at position {index + 1}", "id", f"expected a number, not {number!r}")
        return
    where = f"image {number}"
    if number in content.images:
        content.note(where, "id", "occurs twice")
        return
    content.images[number] = entry
    for side in ("height", "width"):
        if not is_int(entry.get(side)) or entry[side] <= 0:
            content.note(where, side, f"expected pixels, not {entry.get(side)!r}")
            entry[side] = 0
    if not isinstance(entry.get("file_name"), str) or not entry["file_name"]:
        content.note(where, "file_name", f"expected a path, not {entry.get('file_name')!r}")
        entry["file_name"] = ""


def _read_category(content: CocoFile, entry: Any, index: int) -> None:
    if not isinstance(entry, dict) or not is_int(entry.get("id")):
        content.note(f"category at position {index + 1}", "id", "expected a number")
        return
    where = f"category {entry['id']}"
    if entry["id"] in content.categories:
        content.note(where, "id", "occurs twice")
    if not isinstance(entry.get("name"), str):
        content.note(where, "name", f"expected a text, not {entry.get('name')!r}")
    content.categories[entry["id"]] = Category(
        entry["id"], str(entry.get("name")), str(entry.get("supercategory", ""))
    )


def _read_annotation(content: CocoFile, entry: Any, index: int) -> None:
    content.has_annotations = True
    where = f"annotation at position {index + 1}"
    if not isinstance(entry, dict):
        content.note(where, "", "expected an object")
        return
    if not is_int(entry.get("id")):
        content.note(where, "id", f"expected a number, not {entry.get('id')!r}")
        return
    image_id = entry.get("image_id")
    image = content.images.get(image_id) if is_int(image_id) else None
    where = f"annotation {entry['id']}"
    if image is None:
        content.note(where, "image_id", f"no image has the id {image_id!r}")
    elif not image["height"] or not image["width"]:
        image = None  # told already
    if entry.get("iscrowd", 0) not in (0, 1):
        content.note(where, "iscrowd", f"expected 0 or 1, not {entry['iscrowd']!r}")
    read_object(content, entry, where, entry["id"], image)


def read_object(
    content: CocoFile,
    entry: Mapping[str, Any],
    where: str,
    number: int,
    image: Mapping[str, Any] | None,
) -> None:
    """Checks an annotation or result and adds it to the rows if nothing is wrong with it.

    Args:
        content: gets the object, problems and remarks.
        entry: as in the file.
        where: what messages call it.
        number: its id.
        image: height and width of its image, None where it is not known.
    """
    num_problems = len(content.problems)
    category_id = entry.get("category_id")
    content.met_ids.append(number)
    content.met_category_ids.append(category_id if is_int(category_id) else NO_CATEGORY)
    if not is_int(category_id):
        content.note(where, "category_id", f"expected a number, not {category_id!r}")
    area = entry.get("area")
    if area is not None and not (are_finite([area]) and area >= 0):
        content.note(where, "area", f"expected pixels, not {area!r}")
    box = _check_box(content, entry.get("bbox"), where, image)
    counts = _check_segmentation(content, entry, where, image)
    if len(content.problems) > num_problems or not is_int(entry.get("image_id")):
        return
    known = _OBJECT_FIELDS | {"score"} if content.is_results else _OBJECT_FIELDS
    extra = {key: value for key, value in entry.items() if key not in known}
    content.rows.append(
        CocoObject(
            id=number,
            image_id=entry["image_id"],
            category_id=entry["category_id"],
            counts=counts,
            bbox=box,
            area=area,
            is_crowd=bool(entry.get("iscrowd", 0)),
            score=entry["score"] if content.is_results else None,
            extra=extra,
        )
    )


def _check_box(
    content: CocoFile, box: Any, where: str, image: Mapping[str, Any] | None
) -> list[float] | None:
    if box is None:
        return None
    if not isinstance(box, list) or len(box) != 4 or not are_finite(box):
        content.note(where, "bbox", f"expected four finite numbers [x, y, w, h], not {box!r:.80}")
        return None
    x, y, width, height = box
    if width < 0 or height < 0:
        content.note(where, "bbox", f"width and height must not be negative: {box}")
    elif content.thorough and image is not None and image["height"] and image["width"]:
        if not width or not height:
            content.remark(where, "bbox", f"has no area: {box}")
        _remark_outside(content, where, "bbox", [x, x + width], [y, y + height], image)
    return box


def _remark_outside(
    content: CocoFile,
    where: str,
    name: str,
    xs: Iterable[float],
    ys: Iterable[float],
    image: Mapping[str, Any],
) -> None:
    for values, side in ((list(xs), "width"), (list(ys), "height")):
        limit = image[side]
        if min(values) < -_TOLERANCE or max(values) > limit + _TOLERANCE:
            low, high = min(values), max(values)
            content.remark(
                where, name, f"leaves the image: {low:g} to {high:g}, its {side} is {limit}"
            )


def _check_segmentation(
    content: CocoFile, entry: Mapping[str, Any], where: str, image: Mapping[str, Any] | None
) -> str | None:
    """Run lengths of a mask of any form; None where there is none, or a problem was noted."""
    value = entry.get("segmentation")
    name = "segmentation"
    if "segmentation" not in entry or (value is None and content.is_results):
        if entry.get("bbox") is None:
            content.note(where, name, "has neither a mask nor a box")
        elif not content.is_results:
            content.remark(where, name, "is missing: only the box can be used")
        return None
    if value is None or value in ([], {}):
        content.note(where, name, "is empty: expected polygons or run lengths")
        return None
    if image is None:
        return None
    try:
        counts = _counts_of(value, image["height"], image["width"])
    except (MaskError, TypeError, ValueError) as error:
        content.note(where, name, str(error))
        return None
    if content.thorough:
        _remark_mask(content, value, counts, where, image)
    return counts


def _counts_of(value: Any, height: int, width: int) -> str:
    """Compressed run lengths of polygons or of an RLE in any form.

    Raises:
        MaskError: malformed, or of another size than the image.
    """
    if isinstance(value, list):
        if not all(isinstance(polygon, list) and are_finite(polygon) for polygon in value):
            raise MaskError("expected polygons [[x0, y0, x1, y1, ...], ...] of finite numbers")
        return rle.from_polygons(value, height, width)["counts"]
    if not isinstance(value, dict):
        raise MaskError(f"expected polygons or run lengths, not {value!r:.60}")
    if value.get("size") != [height, width]:
        raise MaskError(f"the mask has size {value.get('size')}, the image [{height}, {width}]")
    runs = rle.counts_of(value)
    counts = value["counts"]
    return counts if isinstance(counts, str) else rle.counts_to_string(runs)


def _remark_mask(
    content: CocoFile, value: Any, counts: str, where: str, image: Mapping[str, Any]
) -> None:
    if isinstance(value, list):
        xs = [x for polygon in value for x in polygon[0::2]]
        ys = [y for polygon in value for y in polygon[1::2]]
        _remark_outside(content, where, "segmentation", xs, ys, image)
    size = [image["height"], image["width"]]
    if not rle.area({"size": size, "counts": counts}):
        content.remark(where, "segmentation", "the mask has no pixel")


def check_between(content: CocoFile, what: str) -> None:
    """Notes ids that occur twice and classes that nobody listed.

    Args:
        content: the whole file.
        what: what messages call an object.
    """
    numbers, times = np.unique(np.asarray(content.met_ids, np.int64), return_counts=True)
    for number in numbers[times > 1]:
        content.note(f"{what} {number}", "id", "occurs more than once")
    for number, category_id in zip(content.met_ids, content.met_category_ids, strict=True):
        if category_id not in content.categories and category_id != NO_CATEGORY:
            message = f"no category has the id {category_id}"
            content.note(f"{what} {number}", "category_id", message)


def is_int(value: Any) -> TypeGuard[int]:
    """True for whole numbers that fit into 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 62


def are_finite(values: list[Any]) -> bool:
    """True for numbers only, without NaN and infinity."""
    return all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        for value in values
    )
