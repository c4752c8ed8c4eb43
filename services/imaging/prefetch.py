"""Working a few items ahead in threads: PIL and torch let go of the interpreter lock."""

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
    """`work(item)` for each item in order, begun up to BATCHES_AHEAD items early; what it raises is raised here."""
    with ThreadPoolExecutor(DECODERS, "decode") as pool:
        yield from work_ahead(pool, work, items, BATCHES_AHEAD)


def work_ahead(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """`work(item)` for each item in order, in the threads of a pool, with up to `ahead` items begun and not given."""
    waiting = iter(items)
    begun: deque[Future[R]] = deque(pool.submit(work, item) for item in islice(waiting, ahead))
    while begun:
        done = begun.popleft().result()
        begun.extend(pool.submit(work, item) for item in islice(waiting, 1))
        yield done
