"""What glibc does with freed memory: retain it for the next step, or return it to the system."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_RETAIN = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1}
# The values that glibc itself arrives at in a process that frees large blocks.
_DEFAULT = {_M_MMAP_MAX: 65536, _M_MMAP_THRESHOLD: 32 << 20, _M_TRIM_THRESHOLD: 64 << 20}


@contextmanager
def retain_freed_memory() -> Iterator[None]:
    """Retain freed memory in this process for the block. Does nothing without glibc.

    Otherwise glibc maps memory again for every large tensor, and the kernel clears each page: a tenth of a training
    step on a CPU.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    _set(libc, _RETAIN)
    try:
        yield
    finally:
        _set(libc, _DEFAULT)
        libc.malloc_trim(0)


def return_freed_memory() -> None:
    """Return free memory to the system. Does nothing without glibc.

    The memory that the threads of one job freed is fragmented; without this it adds to the memory of the next job.
    """
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None


def _set(libc: ctypes.CDLL, options: dict[int, int]) -> None:
    for option, value in options.items():
        libc.mallopt(option, value)
