"""Mask files and arrays: palette PNG, ids, one-hot stacks, overlap resolution.

Letters: K objects, H rows, W columns. An id map is (H, W) with 0 as background.
Source: spec common section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, UnidentifiedImageError

from vidseg_common.errors import MaskError
from vidseg_common.files import atomic_path
from vidseg_common.mask_colors import (
    DAVIS_PALETTE,
    ColorIds,
    looks_antialiased,
    snap_colors,
    snap_values,
)
from vidseg_common.png_plain import decode_plain

__all__ = [
    "DAVIS_PALETTE",
    "MAX_ID",
    "VOID",
    "from_one_hot",
    "object_ids",
    "open_indices",
    "read_indices",
    "read_mask",
    "read_mask_and_palette",
    "resolve_overlaps",
    "to_one_hot",
    "write_binary_mask",
    "write_mask",
]

MAX_ID = 255
VOID = 255
IdMap = NDArray[np.uint8]

_INDEX_MODES = ("P", "L", "1")
_WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_COLOR_MODES = ("RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr")


def read_mask(
    path: str | Path,
    *,
    rgb: Literal["refuse", "snap"] = "refuse",
    max_colors: int = 64,
    color_ids: ColorIds | None = None,
) -> IdMap:
    """Reads a mask file as a map of object ids.

    Palette files give their indices and grey files their values, as they are. What to do with a
    colour picture, or with a grey one that was smoothed at its borders, is the caller's choice.

    Args:
        path: a PNG (or any image file Pillow reads).
        rgb: "refuse" raises for such files; "snap" turns colours into ids: DAVIS palette colours
            into their ids, pixels of mixed colour at borders into the nearest full colour, any
            other colours into 1, 2, ... with black as background.
        max_colors: with "snap", more full colours than this are refused as not being a mask.
        color_ids: with "snap", the ids given to colours outside the palette so far. It is
            extended in place: share one between the masks of a video, so that ids agree.

    Returns:
        (H, W) uint8.

    Raises:
        MaskError: the file is missing, unreadable, cut off, in colour, smoothed, or holds ids
            above 255; the message names the file and says what to do.
    """
    return _read(path, rgb, max_colors, color_ids)[0]


def read_mask_and_palette(
    path: str | Path,
    *,
    rgb: Literal["refuse", "snap"] = "refuse",
    max_colors: int = 64,
    color_ids: ColorIds | None = None,
) -> tuple[IdMap, NDArray[np.uint8] | None]:
    """Reads a mask like `read_mask`, and the palette it was stored with.

    Returns:
        The (H, W) uint8 id map and the (256, 3) uint8 palette, None where the file has none.

    Raises:
        MaskError: as `read_mask`.
    """
    return _read(path, rgb, max_colors, color_ids)


def open_indices(path: str | Path) -> Image.Image:
    """Decodes a palette or grey mask; its pixels are ids, exactly as stored.

    Cropping the picture before it becomes an array is the fast way to read many masks.

    Returns:
        A picture of mode P or L.

    Raises:
        MaskError: the file is missing, unreadable, cut off or not one channel of 8 bits.
    """
    # The slower way tells what is wrong with a file, also when there is none.
    image = decode_plain(Path(path).read_bytes()) if Path(path).is_file() else None
    image = image or _open(path)
    if image.mode not in _INDEX_MODES:
        image.close()
        raise MaskError(_wrong_mode(path, image.mode))
    # Two-level pictures become ids 0 and 1.
    return image if image.mode != "1" else Image.fromarray(np.array(image).astype(np.uint8))


def read_indices(path: str | Path) -> IdMap:
    """Reads a palette or grey mask exactly as stored, without judging its values.

    Returns:
        (H, W) uint8, read-only.

    Raises:
        MaskError: the file is missing, unreadable, cut off or not one channel of 8 bits.
    """
    with open_indices(path) as image:
        return np.asarray(image)


def _read(
    path: str | Path,
    rgb: Literal["refuse", "snap"],
    max_colors: int,
    color_ids: ColorIds | None,
) -> tuple[IdMap, NDArray[np.uint8] | None]:
    with _open(path) as image:
        mode = image.mode
        if mode == "P":
            return np.array(image), _palette_of(image)
        if mode in ("L", "1"):
            return _from_grey(np.array(image).astype(np.uint8), path, rgb, max_colors), None
        if mode in _WIDE_MODES:
            values = np.array(image)
            _check_ids(values, f"{path}: ")
            return values.astype(np.uint8), None
        if rgb != "snap" or mode not in _COLOR_MODES:
            raise MaskError(_wrong_mode(path, mode))
        rgba = np.array(image.convert("RGBA"))
    # What cannot be seen is background, whatever colour it hides.
    colors = rgba[..., :3] * (rgba[..., 3:] >= 128)
    try:
        return snap_colors(colors, max_colors, {} if color_ids is None else color_ids), None
    except MaskError as error:
        raise MaskError(f"{path}: {error}") from None


def _open(path: str | Path) -> Image.Image:
    """Opens and decodes an image, so that every way to fail shows here."""
    try:
        image = Image.open(path)
    except FileNotFoundError:
        raise MaskError(f"mask not found: {path}") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise MaskError(f"cannot read the mask {path}: not an image file ({error})") from error
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        image.close()
        raise MaskError(f"cannot read the mask {path}: damaged or cut off ({error})") from error
    return image


def _wrong_mode(path: str | Path, mode: str) -> str:
    return (
        f"{path} is a colour picture (mode {mode}), not a mask of object ids: save it as palette "
        'or 8-bit grey PNG, or let its colours be turned into ids (rgb="snap")'
    )


def _palette_of(image: Image.Image) -> NDArray[np.uint8]:
    colors = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = colors
    return palette


def _from_grey(
    values: IdMap, path: str | Path, rgb: Literal["refuse", "snap"], max_colors: int
) -> IdMap:
    if not looks_antialiased(values):
        return values
    if rgb == "snap":
        try:
            return snap_values(values, max_colors)
        except MaskError as error:
            raise MaskError(f"{path}: {error}") from None
    raise MaskError(
        f"{path} has {len(object_ids(values))} different grey values, most of them only at "
        "borders: it was smoothed or resized and its values are no object ids. Save it without "
        'smoothing, or let its pixels be snapped to the full values (rgb="snap")'
    )


def write_mask(path: str | Path, mask: ArrayLike, palette: ArrayLike | None = None) -> None:
    """Writes an id map as 8-bit palette PNG, as DAVIS and YouTube-VOS have it.

    The file appears under its name only when it is complete.

    Args:
        path: name of the PNG.
        mask: (H, W) integers or bools.
        palette: (256, 3) or fewer colours, the DAVIS palette by default.

    Raises:
        MaskError: not two-dimensional, not integers, or ids outside 0..255.
        OSError: the file cannot be written.
    """
    ids = np.asarray(mask)
    if ids.ndim != 2 or 0 in ids.shape or ids.dtype.kind not in "biu":
        raise MaskError(
            f"a mask is a two-dimensional integer array, not shape {ids.shape} of {ids.dtype}"
        )
    _check_ids(ids, "")
    image = Image.fromarray(np.ascontiguousarray(ids, np.uint8))
    colors = DAVIS_PALETTE if palette is None else np.asarray(palette, np.uint8)
    image.putpalette(colors.tobytes())
    _save_png(path, image)


def write_binary_mask(path: str | Path, mask: ArrayLike) -> None:
    """Writes a (H, W) bool mask as 8-bit grey PNG of 0 and 255, as DAVIS 2016 has it.

    Raises:
        MaskError: not two-dimensional.
        OSError: the file cannot be written.
    """
    foreground = np.asarray(mask).astype(bool)
    if foreground.ndim != 2 or 0 in foreground.shape:
        raise MaskError(f"a mask is a two-dimensional array, not shape {foreground.shape}")
    _save_png(path, Image.fromarray(foreground.astype(np.uint8) * 255))


def _save_png(path: str | Path, image: Image.Image) -> None:
    # Masks are many and can be redone: waiting for the disk for each would cost more than them.
    with atomic_path(path, durable=False) as temporary:
        image.save(temporary, format="PNG", compress_level=1)


def _check_ids(ids: NDArray[np.generic], prefix: str) -> None:
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high > MAX_ID:
        wrong = low if low < 0 else high
        raise MaskError(
            f"{prefix}object id {wrong} does not fit into an 8-bit mask (0..{MAX_ID}); "
            "renumber the objects"
        )


def object_ids(mask: NDArray[np.generic], void: int | None = None) -> list[int]:
    """Lists the object ids of a mask, ascending, without background.

    Args:
        mask: (H, W) integer id map.
        void: a value that marks pixels without label and is no object, such as 255.
    """
    if mask.dtype == np.uint8:
        values = np.flatnonzero(np.bincount(mask.reshape(-1), minlength=256))
    else:
        values = np.unique(mask)
    return [int(value) for value in values if value != 0 and value != void]


def to_one_hot(mask: NDArray[np.generic], ids: Sequence[int]) -> NDArray[np.bool_]:
    """Splits an id map into one mask per object.

    Args:
        mask: (H, W) integer id map.
        ids: ids in the wanted order; they need not be contiguous nor occur.

    Returns:
        (K, H, W) bool.
    """
    return mask[None] == np.asarray(ids, np.int64).reshape(-1, 1, 1)


def from_one_hot(one_hot: NDArray[np.generic], ids: Sequence[int]) -> IdMap:
    """Joins one mask per object into an id map; the inverse of `to_one_hot`.

    Args:
        one_hot: (K, H, W), true where the object is.
        ids: K different ids in 1..255.

    Returns:
        (H, W) uint8.

    Raises:
        MaskError: ids do not fit, or two masks overlap (see `resolve_overlaps`).
    """
    stack = np.asarray(one_hot).astype(bool)
    _check_stack(stack, ids)
    if len(stack) > 1 and int(stack.sum(axis=0).max()) > 1:
        raise MaskError("masks of different objects overlap; resolve the overlaps first")
    joined = np.zeros(stack.shape[1:], np.uint8)
    for object_id, mask in zip(ids, stack, strict=True):
        joined[mask] = object_id
    return joined


def resolve_overlaps(
    masks: NDArray[np.generic], scores: Sequence[float], ids: Sequence[int] | None = None
) -> IdMap:
    """Joins masks that may overlap; a pixel goes to the mask of the highest score.

    Args:
        masks: (K, H, W), true where the object is.
        scores: K numbers; equal scores: the earlier mask wins.
        ids: K different ids in 1..255, by default 1..K in the order of the masks.

    Returns:
        (H, W) uint8.

    Raises:
        MaskError: scores or ids do not fit the masks.
    """
    stack = np.asarray(masks).astype(bool)
    names = list(range(1, len(stack) + 1)) if ids is None else list(ids)
    _check_stack(stack, names)
    if len(scores) != len(stack) or np.isnan(np.asarray(scores, float)).any():
        raise MaskError(f"{len(stack)} masks need as many scores that are numbers: {scores}")
    joined = np.zeros(stack.shape[1:], np.uint8)
    best_last = np.argsort(-np.asarray(scores, float), kind="stable")[::-1]
    for position in best_last:
        joined[stack[position]] = names[position]
    return joined


def _check_stack(stack: NDArray[np.bool_], ids: Sequence[int]) -> None:
    if stack.ndim != 3 or len(stack) != len(ids):
        raise MaskError(f"masks of shape {stack.shape} do not fit {len(ids)} ids; expected (K,H,W)")
    if len(set(ids)) != len(ids) or any(not 1 <= i <= MAX_ID for i in ids):
        raise MaskError(f"ids must be different and in 1..{MAX_ID}: {list(ids)}")
