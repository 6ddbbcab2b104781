"""Masks as JSON files hold them (RLE of either form, polygons) and the one form used here.

Source: spec common sections 1.4 and 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vidseg_common.errors import MaskError
from vidseg_common.rle import RLE, counts_of, counts_to_string, from_polygons

__all__ = ["is_finite", "parse_polygons", "parse_rle", "parse_segmentation"]


def parse_segmentation(value: Any, height: int, width: int) -> RLE:
    """Turns an RLE or a list of polygons into a compressed RLE.

    Args:
        value: what the file holds for one object in one frame, not null.
        height: H of the frame.
        width: W of the frame.

    Raises:
        MaskError: neither of the two, malformed, or a mask of another size.
    """
    if isinstance(value, dict):
        return parse_rle(value, (height, width))
    if isinstance(value, list):
        return parse_polygons(value, height, width)
    raise MaskError(f"expected an RLE, a list of polygons or null, found {_kind(value)}")


def parse_rle(value: Mapping[str, Any], size: tuple[int, int] | None = None) -> RLE:
    """Checks an RLE with counts of either form and gives it a string.

    Args:
        value: as decoded from JSON. A string is kept as it is.
        size: (H, W) that the mask must have, None where unknown.

    Raises:
        MaskError: malformed, the runs do not add up to H * W, or another size.
    """
    found = value.get("size")
    if not (isinstance(found, list) and len(found) == 2 and all(type(n) is int for n in found)):
        raise MaskError(f"an RLE has a size [height, width], found {found!s:.60}")
    if size is not None and tuple(found) != size:
        raise MaskError(f"the mask is {found[0]}x{found[1]}, the frame {size[0]}x{size[1]}")
    counts = value.get("counts")
    if isinstance(counts, str) and counts.isascii():
        counts_of({"size": found, "counts": counts})
        return {"size": list(found), "counts": counts}
    if isinstance(counts, list):
        runs = counts_of({"size": found, "counts": _whole_numbers(counts)})
        return {"size": list(found), "counts": counts_to_string(runs)}
    raise MaskError(f"RLE counts are an ASCII string or a list of numbers, found {_kind(counts)}")


def parse_polygons(value: Sequence[Any], height: int, width: int) -> RLE:
    """Rasterises the union of polygons by the rule of COCO.

    Raises:
        MaskError: no polygon, one of fewer than three points or of anything but finite numbers,
            or one that lies far outside the frame.
    """
    # Edges are walked pixel by pixel, so that a wild coordinate would take hours.
    reach = 2 * max(height, width)
    for polygon in value:
        if not isinstance(polygon, list) or not all(is_finite(number) for number in polygon):
            raise MaskError("a polygon is a list of finite numbers [x0, y0, x1, y1, ...]")
        if any(abs(number) > reach for number in polygon):
            raise MaskError(f"a polygon lies far outside the frame of {height}x{width}")
    return from_polygons(value, height, width)


def is_finite(value: Any) -> bool:
    """Whether a value from JSON is a number, and neither NaN nor infinite."""
    # Whole numbers of JSON may be too large for math.isfinite; a comparison never fails.
    return type(value) in (int, float) and abs(value) < 1e300


def _whole_numbers(counts: list[Any]) -> np.ndarray[Any, Any]:
    try:
        runs = np.asarray(counts if counts else np.zeros(0, np.int64))
    except (ValueError, OverflowError):
        runs = np.zeros((0, 0))
    if runs.ndim != 1 or runs.dtype.kind not in "iu":
        raise MaskError("RLE counts that are a list must be whole numbers")
    return runs


def _kind(value: Any) -> str:
    names = {type(None): "null", dict: "an object", list: "a list", str: "a text"}
    return names.get(type(value), repr(value))
