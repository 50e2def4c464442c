"""The C library's allocator, told to keep what it has.

glibc gives every large buffer back to the kernel when it is freed, and a training step frees all its activations: the
next step then takes the page faults anew. What keeping them gains stands in docs/performance.md.
"""

from __future__ import annotations

import ctypes
import sys

# from malloc.h
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Let this process reuse freed memory instead of returning it; it grows to its peak and stays there.

    Returns:
        whether the C library took the settings: true with glibc, false elsewhere, where nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has none
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    return all(mallopt(ctypes.c_int(option), ctypes.c_int(value)) == 1 for option, value in settings)
