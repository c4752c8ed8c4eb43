"""Cuts all parts of an import with several processes of this machine."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from services.common.blobs import open_blobs
from services.common.errors import InvalidInput
from services.training.raw.importing import ImportPlan, cut_part


def cut_all(
    blobs_url: str,
    plan: ImportPlan,
    workers: int,
    on_part: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Cut every part that is missing. At most `workers` mammograms are in memory at a time. `on_part` receives the
    number of parts that are done, and of all parts; what it raises ends the import after the parts in hand."""
    total = len(plan.parts)
    numbers = iter(range(total))
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        running: dict[Future[None], int] = {}
        for done in range(total):
            while len(running) < 2 * workers and (number := next(numbers, None)) is not None:
                running[pool.submit(_cut, blobs_url, plan, number)] = number
            finished = _first_done(running)
            number = running.pop(finished)
            try:
                finished.result()
            except BrokenProcessPool as error:
                raise InvalidInput(f"a process that cut part {number} of {total} was killed") from error
            on_part(done + 1, total)


def _cut(blobs_url: str, plan: ImportPlan, number: int) -> None:
    cut_part(open_blobs(blobs_url), plan, number)


def _first_done(running: dict[Future[None], int]) -> Future[None]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    return min(done, key=running.__getitem__)
