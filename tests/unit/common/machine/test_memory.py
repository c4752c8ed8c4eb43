"""Freed memory that is kept, and that is given back."""

import ctypes
import resource
from pathlib import Path

from services.common.machine.memory import retain_freed_memory, return_freed_memory

LARGE = 256 << 20
SMALL = 64 << 10
"""Below the size from which glibc maps blocks one by one."""


def faults_of_a_large_block() -> int:
    """Pages that the system brings in while a block is allocated, filled and freed, as C does it."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(LARGE)))
    ctypes.memset(block, 1, LARGE)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_memory_is_kept_within_the_block_and_given_back_after_it() -> None:
    """The second large block takes the pages of the first; after the context each is made anew."""
    with retain_freed_memory():
        first = faults_of_a_large_block()
        assert faults_of_a_large_block() < first / 10
    for _ in range(2):
        assert faults_of_a_large_block() > first / 2


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_what_is_free_in_pieces_is_given_back() -> None:
    """Blocks that were freed below one that is still in use stay with the process until then."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    blocks = [ctypes.c_void_p(libc.malloc(ctypes.c_size_t(SMALL))) for _ in range(LARGE // SMALL)]
    for block in blocks:
        ctypes.memset(block, 1, SMALL)
    for block in blocks[:-1]:
        libc.free(block)
    held = resident()
    return_freed_memory()
    assert resident() < held - LARGE // 2
    libc.free(blocks[-1])
