"""From colours to object ids: the DAVIS palette, its inverse, and masks smoothed at borders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vidseg_common.errors import MaskError

ColorIds = dict[tuple[int, int, int], int]

# Colours nearer than this (largest channel difference) are one colour spoilt by compression.
_SAME_COLOR = 24
# A grey mask with more values than this is looked at more closely.
_MANY_VALUES = 4


def _davis_palette() -> NDArray[np.uint8]:
    """Computes the 256 colours from the bits of the id (spec common section 3)."""
    palette = np.zeros((256, 3), np.uint8)
    for color in range(256):
        rest = color
        for shift in range(7, -1, -1):
            for channel in range(3):
                palette[color, channel] |= (rest >> channel & 1) << shift
            rest >>= 3
    return palette


DAVIS_PALETTE: NDArray[np.uint8] = _davis_palette()
DAVIS_PALETTE.flags.writeable = False


def solid_codes(codes: NDArray[np.integer]) -> NDArray[np.integer]:
    """Lists the values that fill a whole 3x3 block somewhere; mixed border colours do not.

    Args:
        codes: (H, W) integers.

    Returns:
        The sorted values; empty for pictures smaller than 3x3.
    """
    if min(codes.shape) < 3:
        return np.unique(codes)[:0]
    rows = (codes[:-2] == codes[1:-1]) & (codes[1:-1] == codes[2:])
    same = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
    middle = codes[1:-1, 1:-1]
    same &= (codes[1:-1, :-2] == middle) & (middle == codes[1:-1, 2:])
    return np.unique(middle[same])


def looks_antialiased(values: NDArray[np.uint8]) -> bool:
    """Tells whether a grey mask was smoothed: many values, most of them nowhere solid.

    Args:
        values: (H, W) grey values.
    """
    num_values = int(np.count_nonzero(np.bincount(values.reshape(-1), minlength=256)))
    if num_values <= _MANY_VALUES:
        return False
    return len(solid_codes(values)) < num_values / 2


def snap_values(values: NDArray[np.uint8], max_colors: int) -> NDArray[np.uint8]:
    """Moves every grey value to the nearest value that is solid somewhere.

    Args:
        values: (H, W) smoothed grey mask.
        max_colors: most solid values allowed.

    Returns:
        (H, W) uint8 of solid values.

    Raises:
        MaskError: no or too many solid values.
    """
    full = _merge_near(values[..., None].repeat(3, -1), max_colors)[:, 0].astype(np.int64)
    table = full[np.abs(np.arange(256)[:, None] - full[None]).argmin(axis=1)]
    return table.astype(np.uint8)[values]


def snap_colors(
    colors: NDArray[np.uint8], max_colors: int, color_ids: ColorIds
) -> NDArray[np.uint8]:
    """Turns a colour picture of a mask into ids.

    Colours of the DAVIS palette take their id. Where other colours occur, the full colours are
    those that fill a 3x3 block; every other pixel takes the nearest of them. If the full colours
    are all of the palette they keep its ids, otherwise black is background and the others get
    the lowest free ids in order of (red, green, blue).

    Args:
        colors: (H, W, 3) picture.
        max_colors: most full colours allowed.
        color_ids: ids of colours outside the palette so far; extended in place.

    Returns:
        (H, W) uint8.

    Raises:
        MaskError: not a mask: no or too many full colours, no black background.
    """
    codes = _encode(colors)
    palette_codes = _encode(DAVIS_PALETTE)
    present, inverse = np.unique(codes, return_inverse=True)
    order = np.argsort(palette_codes)
    places = np.searchsorted(palette_codes, present, sorter=order).clip(max=255)
    is_palette = palette_codes[order][places] == present
    if is_palette.all() and not color_ids and len(present) <= max_colors:
        return order[places].astype(np.uint8)[inverse].reshape(codes.shape)
    full = _merge_near(colors, max_colors)
    table = _ids_of(full, color_ids)
    pixels = np.stack([present >> 16, present >> 8 & 255, present & 255], axis=-1)
    nearest = ((pixels[:, None] - full[None].astype(np.int64)) ** 2).sum(-1).argmin(axis=1)
    return table[nearest][inverse].reshape(codes.shape)


def _encode(colors: NDArray[np.uint8]) -> NDArray[np.int64]:
    wide = colors.astype(np.int64)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _merge_near(colors: NDArray[np.uint8], max_colors: int) -> NDArray[np.uint8]:
    """Full colours (K, 3), the commonest first; those close to a commoner one are dropped."""
    codes = _encode(colors)
    solid = solid_codes(codes)
    present, counts = np.unique(codes, return_counts=True)
    area = counts[np.searchsorted(present, solid)]
    full: list[NDArray[np.int64]] = []
    for code in solid[np.argsort(-area, kind="stable")]:
        color = np.array([code >> 16, code >> 8 & 255, code & 255], np.int64)
        color = _pull_to_palette(color)
        if all(np.abs(color - other).max() > _SAME_COLOR for other in full):
            full.append(color)
        if len(full) > max_colors:
            raise MaskError(
                f"more than {max_colors} full colours: this looks like a photograph, not a mask"
            )
    if not full:
        raise MaskError("no area of one colour: this looks like a photograph, not a mask")
    return np.array(full).astype(np.uint8)


def _pull_to_palette(color: NDArray[np.int64]) -> NDArray[np.int64]:
    """Repairs a colour that compression moved by a step or two off the nearest common colour."""
    common = DAVIS_PALETTE[:23].astype(np.int64)
    distance = np.abs(common - color).max(axis=1)
    best = int(distance.argmin())
    return common[best] if distance[best] <= 4 else color


def _ids_of(full: NDArray[np.uint8], color_ids: ColorIds) -> NDArray[np.uint8]:
    """Ids of the full colours: those of the palette if all are in it, else free ones."""
    names = [(int(r), int(g), int(b)) for r, g, b in full]
    in_palette = {tuple(int(c) for c in color): i for i, color in enumerate(DAVIS_PALETTE)}
    if not color_ids and all(name in in_palette for name in names):
        return np.array([in_palette[name] for name in names], np.uint8)
    if (0, 0, 0) not in names:
        raise MaskError(
            "a colour mask needs a black background to tell it from the objects; "
            "save it as palette PNG with id 0 as background"
        )
    for name in sorted(set(names) - {(0, 0, 0)} - set(color_ids)):
        color_ids[name] = max(color_ids.values(), default=0) + 1
    return np.array([0 if name == (0, 0, 0) else color_ids[name] for name in names], np.uint8)
