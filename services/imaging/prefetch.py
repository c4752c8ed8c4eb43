"""Decoding a few batches ahead of the network, in threads: PIL lets go of the interpreter lock."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

DECODERS = 2
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
