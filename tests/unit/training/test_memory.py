"""Freed memory that a run keeps."""

import ctypes
import resource

from services.training.memory import kept_memory

LARGE = 256 << 20


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
    with kept_memory():
        first = faults_of_a_large_block()
        assert faults_of_a_large_block() < first / 10
    for _ in range(2):
        assert faults_of_a_large_block() > first / 2
