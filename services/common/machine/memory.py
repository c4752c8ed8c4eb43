"""What happens to memory that is freed, where the C library is glibc: kept for the next step, or given back."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_KEEP = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1}
# Where glibc comes to by itself in a process that frees large blocks.
_GIVE_BACK = {_M_MMAP_MAX: 65536, _M_MMAP_THRESHOLD: 32 << 20, _M_TRIM_THRESHOLD: 64 << 20}


@contextmanager
def kept_memory() -> Iterator[None]:
    """Within the block this process gives no freed memory back to the system, where the C library is glibc.

    It would map every large tensor anew, and the kernel clear each of its pages: a tenth of a step on a CPU.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    _set(libc, _KEEP)
    try:
        yield
    finally:
        _set(libc, _GIVE_BACK)
        libc.malloc_trim(0)


def give_back_memory() -> None:
    """Give to the system what is free, where the C library is glibc: what the threads of one job have freed lies in
    pieces, and would stand beside the memory of the next one."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None


def _set(libc: ctypes.CDLL, options: dict[int, int]) -> None:
    for option, value in options.items():
        libc.mallopt(option, value)
