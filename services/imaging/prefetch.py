"""Work on a few items ahead, in threads. PIL and torch release the interpreter lock."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from services.common.machine.cores import working_threads

DECODERS = max(2, working_threads())
BATCHES_AHEAD = 4

T = TypeVar("T")
R = TypeVar("R")


def prefetch(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield `work(item)` for each item in order. Up to BATCHES_AHEAD items are started early. An error in `work` is
    raised here."""
    with ThreadPoolExecutor(DECODERS, "decode") as pool:
        yield from work_ahead(pool, work, items, BATCHES_AHEAD)


def work_ahead(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """Yield `work(item)` for each item in order, computed in a pool. Up to `ahead` items are started early."""
    waiting = iter(items)
    started: deque[Future[R]] = deque(pool.submit(work, item) for item in islice(waiting, ahead))
    while started:
        done = started.popleft().result()
        started.extend(pool.submit(work, item) for item in islice(waiting, 1))
        yield done
