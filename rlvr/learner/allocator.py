"""How the C library keeps memory for a learner on CPU (glibc)."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of malloc.h
LARGEST = 2**30  # bytes; glibc refuses more than an int holds


def keep_freed_memory() -> bool:
    """Have freed tensors stay with the process, which reuses them every step; returns whether the C library obeys.

    glibc gives every tensor over 32 MiB back to the kernel when it is freed, and the next one of its size costs a fault
    for each 4 KiB page: hundreds of thousands in a step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(M_TRIM_THRESHOLD, LARGEST))
