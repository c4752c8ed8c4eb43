"""Cuts all parts of an import with several processes of this machine."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from services.common.blobs import open_blobs
from services.common.errors import InvalidInput
from services.common.machine.memory import retain_freed_memory
from services.training.raw.importing import cut_part
from services.training.raw.plan import ImportPlan, is_cut, part_journal


def cut_all(
    blobs_url: str,
    plan: ImportPlan,
    workers: int,
    on_part: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Cut every part that is missing. At most `workers` mammograms are in memory at a time. `on_part` receives the
    number of parts that are done, and of all parts; what it raises ends the import after the current parts.

    If a process is killed, the executor stops all others too. The parts that they were cutting are then cut one at a
    time, which shows the mammogram that kills its process; it is left out.
    """
    total = len(plan.parts)
    missing = list(range(total))

    def finish(number: int) -> None:
        missing.remove(number)
        on_part(total - len(missing), total)

    while missing:
        for number in _cut_together(blobs_url, plan, workers, missing, finish):
            _cut_alone(blobs_url, plan, number)
            finish(number)


def _cut_together(
    blobs_url: str, plan: ImportPlan, workers: int, missing: Sequence[int], finish: Callable[[int], None]
) -> list[int]:
    """Cut parts until all are done, or until a process is killed. Return the parts that were begun and not finished."""
    numbers = iter(list(missing))
    running: dict[Future[None], int] = {}
    with _executor(workers) as pool:
        try:
            while True:
                while len(running) < 2 * workers and (number := next(numbers, None)) is not None:
                    running[pool.submit(_cut, blobs_url, plan, number)] = number
                if not running:
                    return []
                finished = _first_done(running)
                finished.result()
                finish(running.pop(finished))
        except BrokenProcessPool:
            return sorted(running.values())


def _cut_alone(blobs_url: str, plan: ImportPlan, number: int) -> None:
    """Cut one part in a process of its own, again after each mammogram that kills the process. InvalidInput if it was
    killed without one."""
    while True:
        with _executor(1) as pool:
            try:
                pool.submit(_cut, blobs_url, plan, number).result()
                return
            except BrokenProcessPool as error:
                if not part_journal(open_blobs(blobs_url), plan, number).blame():
                    raise InvalidInput(f"the process that cut part {number} of {len(plan.parts)} was killed") from error


def _executor(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _cut(blobs_url: str, plan: ImportPlan, number: int) -> None:
    blobs = open_blobs(blobs_url)
    if not is_cut(blobs, plan, number):
        with retain_freed_memory():
            cut_part(blobs, plan, number)


def _first_done(running: dict[Future[None], int]) -> Future[None]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    return min(done, key=running.__getitem__)
