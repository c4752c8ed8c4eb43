"""Decoding a few batches ahead of the network, in threads: PIL lets go of the interpreter lock."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

DECODERS = max(2, min(4, os.cpu_count() or 1))
"""Threads. Of more than four each waits for the interpreter's lock most of the time: eight do less than four."""
BATCHES_AHEAD = 4

T = TypeVar("T")
R = TypeVar("R")


def prefetch(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`work(item)` for each item in order, begun up to BATCHES_AHEAD items early; what it raises is raised here."""
    waiting = iter(items)
    with ThreadPoolExecutor(DECODERS, "decode") as pool:
        ahead: deque[Future[R]] = deque(pool.submit(work, item) for item in islice(waiting, BATCHES_AHEAD))
        while ahead:
            done = ahead.popleft().result()
            ahead.extend(pool.submit(work, item) for item in islice(waiting, 1))
            yield done
