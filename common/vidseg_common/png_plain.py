"""A short cut for the commonest mask file: 8-bit palette PNG whose rows are stored unfiltered.

Reading masks is most of the time of an evaluation, and inflating them most of that. For palette
pictures writers leave rows unfiltered, so nothing remains to be done after inflating. Files of
any other form, and damaged ones, are left to Pillow, which also knows what to say about them.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EIGHT_BIT_PALETTE_PLAIN = (8, 3, 0, 0, 0)
_CHUNK_OVERHEAD = 12


def decode_plain(data: bytes) -> Image.Image | None:
    """Decodes such a file to its indices.

    Args:
        data: the whole file.

    Returns:
        A picture of mode L with the palette indices as values, or None for any other file.
    """
    header = data[16:29]
    if not data.startswith(_SIGNATURE) or data[12:16] != b"IHDR" or len(header) < 13:
        return None
    width, height, *form = struct.unpack(">IIBBBBB", header)
    compressed = _image_data(data) if tuple(form) == _EIGHT_BIT_PALETTE_PLAIN else None
    if compressed is None:
        return None
    stride = width + 1
    try:
        # Every chunk's own checksum was compared, so that of the whole (the last four bytes,
        # a fifth of the time) need not be: the stream is read without its two-byte frame.
        rows = zlib.decompress(compressed[2:-4], -zlib.MAX_WBITS, stride * height)
    except zlib.error:
        return None
    if len(rows) != stride * height or np.frombuffer(rows, np.uint8)[::stride].any():
        return None
    # The first byte of every row is its filter, 0 here: one more column to cut off.
    image = Image.frombuffer("L", (stride, height), rows, "raw", "L", 0, 1)
    return image.crop((1, 0, stride, height))


def _image_data(data: bytes) -> bytes | None:
    """Compressed picture from all its chunks; None where one is cut off or its sum is wrong."""
    parts: list[bytes] = []
    start = len(_SIGNATURE)
    while start + _CHUNK_OVERHEAD <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 8 + length
        if kind == b"IEND":
            return b"".join(parts)
        if kind == b"IDAT":
            if data[end : end + 4] != struct.pack(">I", zlib.crc32(data[start + 4 : end])):
                return None
            parts.append(data[start + 8 : end])
        start = end + 4
    return None
