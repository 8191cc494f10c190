"""Thresholds of the C library's allocator, set once for programs that train.

By default every tensor above some hundred kilobytes is mapped from the kernel and given
back when it dies, and each page is zeroed anew on its first touch: up to a fifth of a
training step. Kept in the heap, the same pages serve the next step.
"""

import ctypes
import functools
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_KEEP = (1 << 31) - 1
_KEEP_BEFORE_2_35 = 32 << 20
_GROW = 64 << 20


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process keep what it frees; whether the C library could be told (glibc).

    Numbers do not depend on it. Memory goes back to the system when the process ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    set_ = library.mallopt
    return bool(
        (set_(_MMAP_THRESHOLD, _KEEP) or set_(_MMAP_THRESHOLD, _KEEP_BEFORE_2_35))
        and set_(_TRIM_THRESHOLD, _KEEP)
        and set_(_TOP_PAD, _GROW)
    )
