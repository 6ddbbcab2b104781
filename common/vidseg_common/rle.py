"""Run-length codec of masks: strict about what it reads, byte-equal to COCO in what it writes.

A mask is read column by column; `counts` are the lengths of alternating runs of 0 and 1, the
first of zeros. An RLE is a dictionary {"size": [H, W], "counts": string or list}. Inputs may
have string, bytes or list counts; outputs always have string counts, ready for JSON.
Source: spec common section 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pycocotools import mask as coco_mask

from vidseg_common.errors import MaskError

__all__ = [
    "RLE",
    "area",
    "counts_of",
    "counts_to_string",
    "decode",
    "encode",
    "from_boxes",
    "from_polygons",
    "iou",
    "merge",
    "string_to_counts",
    "to_bbox",
]


_LONGEST_SAFE = 1 << 24
"""The library reserves 6 characters per run, and ends the string with one more; runs below this
and their differences need 5."""

_MOST_CHARACTERS = 7
"""Groups of 5 bits that 32 bits and a sign need."""


class RLE(TypedDict):
    """A mask as compressed run lengths: `size` is [H, W], `counts` the string."""

    size: list[int]
    counts: str


def encode(mask: ArrayLike) -> RLE:
    """Encodes one mask.

    Args:
        mask: (H, W), anything but 0 is set.

    Raises:
        MaskError: not two-dimensional.
    """
    pixels = np.asarray(mask)
    if pixels.ndim != 2:
        raise MaskError(f"a mask has two dimensions, not shape {pixels.shape}")
    return _from_coco(coco_mask.encode(np.asfortranarray(pixels.astype(bool).view(np.uint8))))


def decode(rle: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Decodes one mask.

    Args:
        rle: size and counts (string, bytes or list).

    Returns:
        (H, W) bool.

    Raises:
        MaskError: malformed, or the runs do not add up to H * W.
    """
    height, width = _size_of(rle)
    counts = counts_of(rle)
    values = np.zeros(len(counts), bool)
    values[1::2] = True
    return np.repeat(values, counts).reshape(width, height).T


def area(rle: Mapping[str, Any]) -> int:
    """Counts the pixels of a mask.

    Raises:
        MaskError: as `decode`.
    """
    return int(counts_of(rle)[1::2].sum())


def to_bbox(rle: Mapping[str, Any]) -> list[float]:
    """Box [x, y, w, h] of the set pixels, [0, 0, 0, 0] where there are none.

    Raises:
        MaskError: as `decode`.
    """
    return [float(value) for value in coco_mask.toBbox(_to_coco(rle))]


def iou(
    dets: Sequence[Mapping[str, Any]],
    gts: Sequence[Mapping[str, Any]],
    crowd: Sequence[bool] | None = None,
) -> NDArray[np.float64]:
    """IoU of every pair of masks; two empty masks have 0.

    Args:
        dets: D masks.
        gts: G masks of the same size.
        crowd: G flags; for a crowd the denominator is the area of the detection.

    Returns:
        (D, G).

    Raises:
        MaskError: as `decode`, sizes that differ, or a wrong number of flags.
    """
    _same_size([*dets, *gts])
    flags = [False] * len(gts) if crowd is None else [bool(flag) for flag in crowd]
    if len(flags) != len(gts):
        raise MaskError(f"{len(flags)} crowd flags for {len(gts)} masks")
    if not dets or not gts:
        return np.zeros((len(dets), len(gts)))
    result = coco_mask.iou([_to_coco(d) for d in dets], [_to_coco(g) for g in gts], flags)
    return np.asarray(result, np.float64)


def merge(
    rles: Sequence[Mapping[str, Any]],
    *,
    intersect: bool = False,
    size: tuple[int, int] | None = None,
) -> RLE:
    """Union (or intersection) of masks of one size.

    Args:
        rles: the masks.
        intersect: intersection instead of union.
        size: (H, W) of the result where the list may be empty: an empty mask then.

    Raises:
        MaskError: as `decode`, sizes that differ, or an empty list without `size`.
    """
    if not rles:
        if size is None:
            raise MaskError("nothing to merge: an empty list of masks has no size")
        return encode(np.zeros(size, bool))
    common = _same_size(rles)
    if size is not None and common != tuple(size):
        raise MaskError(f"masks of size {common} cannot be merged into size {tuple(size)}")
    return _from_coco(coco_mask.merge([_to_coco(rle) for rle in rles], intersect))


def from_polygons(polygons: Sequence[Sequence[float]], height: int, width: int) -> RLE:
    """Rasterises the union of polygons by the rule of COCO.

    Args:
        polygons: each [x0, y0, x1, y1, ...] with at least three points.
        height: H of the mask.
        width: W of the mask.

    Raises:
        MaskError: no polygon, or one with fewer than three points or half a point.
    """
    for polygon in polygons:
        # Four numbers would be taken as a box by the library, which is never what was meant.
        if len(polygon) < 6 or len(polygon) % 2:
            raise MaskError(f"a polygon needs 3 or more points (x, y), not {len(polygon)} numbers")
    if not polygons:
        raise MaskError("no polygon to rasterise")
    parts = [list(map(float, polygon)) for polygon in polygons]
    return _from_coco(coco_mask.merge(coco_mask.frPyObjects(parts, height, width)))


def from_boxes(boxes: ArrayLike, height: int, width: int) -> list[RLE]:
    """Rasterises boxes by the rule of COCO.

    Args:
        boxes: (N, 4) as [x, y, w, h].
        height: H of the masks.
        width: W of the masks.

    Raises:
        MaskError: not N boxes of four numbers.
    """
    array = np.asarray(boxes, np.float64)
    if array.ndim != 2 or array.shape[1] != 4:
        raise MaskError(f"boxes have shape (N, 4), not {array.shape}")
    return [_from_coco(rle) for rle in coco_mask.frPyObjects(array, height, width)]


def counts_of(rle: Mapping[str, Any]) -> NDArray[np.int64]:
    """Run lengths of an RLE in any form, checked against its size.

    Raises:
        MaskError: malformed, or the runs do not add up to H * W.
    """
    height, width = _size_of(rle)
    counts = rle.get("counts")
    if isinstance(counts, (str, bytes)):
        runs = string_to_counts(counts)
    elif isinstance(counts, (list, tuple, np.ndarray)):
        runs = np.asarray(counts, np.int64).reshape(-1)
    else:
        raise MaskError(f"RLE counts must be a string or a list, not {type(counts).__name__}")
    if (runs < 0).any() or int(runs.sum()) != height * width:
        raise MaskError(
            f"RLE runs add up to {int(runs.sum())} pixels, a mask of size "
            f"{height}x{width} has {height * width}"
        )
    return runs


def string_to_counts(string: str | bytes) -> NDArray[np.int64]:
    """Decodes the compressed string of an RLE into run lengths.

    Groups of 5 bits, least significant first, 32 marks that more follow, the last group carries
    the sign; from the fourth run on the string holds the difference to the run before the last.

    Raises:
        MaskError: a character outside the alphabet, or cut off within a number.
    """
    data = string.encode("utf-8") if isinstance(string, str) else string
    codes = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    if not len(codes):
        return codes
    if codes.min() < 0 or codes.max() > 63:
        raise MaskError(f"RLE string has a character outside '0'..'o': {string!r:.60}")
    ends = np.flatnonzero(codes < 32)
    if not len(ends) or ends[-1] != len(codes) - 1:
        raise MaskError("RLE string is cut off within a number")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:
        raise MaskError("RLE string holds a number that is too large")
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((codes & 31) << (5 * place), starts)
    numbers -= np.where(codes[ends] & 16, np.int64(1) << (5 * lengths), 0)
    # Differences reach two back, so odd and even runs are two running sums; run 0 stands alone.
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers


def counts_to_string(counts: Sequence[int] | NDArray[np.integer]) -> str:
    """Encodes run lengths as the compressed string; the inverse of `string_to_counts`.

    Raises:
        MaskError: a run that is negative or longer than 32 bits.
    """
    runs = np.asarray(counts, np.int64).reshape(-1)
    if len(runs) and (runs.min() < 0 or runs.max() >= 1 << 32):
        raise MaskError(f"RLE runs lie in 0..2^32-1, not {runs.min()}..{runs.max()}")
    if len(runs) and runs.max() >= _LONGEST_SAFE:
        return _written(runs)
    # The library writes the string from the runs alone, whatever the size.
    return str(coco_mask.frPyObjects({"size": [1, 1], "counts": runs}, 1, 1)["counts"], "ascii")


def _written(runs: NDArray[np.int64]) -> str:
    """The string of any runs; slower than the library, whose buffer long runs overflow."""
    numbers = runs.copy()
    numbers[3:] -= runs[1:-2]
    place = np.arange(_MOST_CHARACTERS)
    shifted = numbers[:, None] >> (5 * place)  # N, 7
    bits, rest = shifted & 31, shifted >> 5
    is_last = np.where(bits & 16, rest == -1, rest == 0)
    last = is_last.argmax(axis=1)[:, None]
    codes = 48 + bits + np.where(place < last, 32, 0)
    return codes[place <= last].astype(np.uint8).tobytes().decode("ascii")


def _size_of(rle: Mapping[str, Any]) -> tuple[int, int]:
    try:
        height, width = (int(value) for value in rle["size"])
    except (KeyError, TypeError, ValueError):
        raise MaskError(f"an RLE has a size [H, W]: {str(dict(rle))[:80]}") from None
    if height < 0 or width < 0:
        raise MaskError(f"RLE of negative size {height}x{width}")
    return height, width


def _same_size(rles: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    sizes = sorted({_size_of(rle) for rle in rles})
    if len(sizes) > 1:
        raise MaskError(f"masks of different sizes: {sizes}")
    return sizes[0] if sizes else (0, 0)


def _to_coco(rle: Mapping[str, Any]) -> dict[str, Any]:
    """Checked and canonical form for the library, which itself checks little."""
    height, width = _size_of(rle)
    runs = _canonical(counts_of(rle))
    return {"size": [height, width], "counts": counts_to_string(runs).encode("ascii")}


def _canonical(runs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Joins the neighbours of zero-length runs, so that values alternate strictly."""
    values = np.arange(len(runs)) & 1
    values, runs = values[runs > 0], runs[runs > 0]
    if not len(runs):
        return runs
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    joined = np.add.reduceat(runs, starts)
    return np.concatenate([[0], joined]) if values[0] else joined


def _from_coco(rle: Mapping[str, Any]) -> RLE:
    height, width = rle["size"]
    return {"size": [int(height), int(width)], "counts": rle["counts"].decode("ascii")}
