"""How this process treats the memory that tensors give back on a CPU."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

# Parameters of glibc's mallopt (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_TOP_PAD_BYTES = 64 * 2**20


@cache
def keep_freed_memory() -> bool:
    """Lets the C library keep freed blocks for the next tensor instead of returning them.

    By default glibc gives every block of more than 32 MiB back to the system at once, and the
    kernel has to clear the same pages again for the next feature map: about a tenth of the time
    of a frame at 480p. The process keeps its peak memory until it ends.

    Returns:
        Whether it could be done: on Linux with glibc only.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    kept = mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    return bool(kept and mallopt(_TOP_PAD, _TOP_PAD_BYTES))
