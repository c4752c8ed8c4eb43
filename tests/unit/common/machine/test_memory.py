"""Freed memory that is retained, and that is returned to the system."""

import ctypes
import resource
from pathlib import Path

from services.common.machine.memory import retain_freed_memory, return_freed_memory

LARGE = 256 << 20
SMALL = 64 << 10
"""Below the size at which glibc maps each block separately."""


def faults_of_a_large_block() -> int:
    """Return the page faults while a large block is allocated, filled and freed, as in C."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(LARGE)))
    ctypes.memset(block, 1, LARGE)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_memory_is_retained_within_the_context_and_returned_after_it() -> None:
    """The second large block uses the pages of the first; after the context each block needs new pages."""
    with retain_freed_memory():
        first = faults_of_a_large_block()
        assert faults_of_a_large_block() < first / 10
    for _ in range(2):
        assert faults_of_a_large_block() > first / 2


def resident() -> int:
    """Return the bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_fragmented_free_memory_is_returned() -> None:
    """Freed blocks below one that is still in use stay with the process until then."""
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
