"""Sets thresholds of the C library's allocator, once for programs that train.

By default a tensor above some hundred kilobytes is mapped by the kernel and unmapped when
it is freed, and each page is zeroed on first touch: up to a fifth of a training step.
Pages that stay in the heap are reused by the next step.
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
    """Let this process keep freed memory; false where the C library is not glibc.

    Results do not depend on it. The memory is returned when the process ends.
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
