"""Jobs that tests run in child processes."""

import gc
import itertools
import os
import signal
import sys
import threading
import time
from types import SimpleNamespace

from pydantic import BaseModel, ConfigDict

from services.common.errors import InvalidInput
from services.common.observability.logs import get_logger
from services.common.work.jobs import Job, JobFunction


class Sum(BaseModel):
    """Two numbers to add."""

    model_config = ConfigDict(frozen=True)

    left: int
    right: int


ADD: JobFunction[Sum, int, int] = JobFunction(f"{__name__}:add")
PROCESS_ID: JobFunction[None, int] = JobFunction(f"{__name__}:process_id")
HANG: JobFunction[None, None] = JobFunction(f"{__name__}:hang")
REPORT_FOR_LONGER: JobFunction[float, str] = JobFunction(f"{__name__}:report_for_longer")
FROZEN: JobFunction[None, int] = JobFunction(f"{__name__}:frozen")
HAS_IMPORTED: JobFunction[str, bool] = JobFunction(f"{__name__}:has_imported")
REFUSE: JobFunction[None, None] = JobFunction(f"{__name__}:refuse")
BREAK_DOWN: JobFunction[None, None] = JobFunction(f"{__name__}:break_down")
DIE: JobFunction[None, None] = JobFunction(f"{__name__}:die")
WAIT_FOR_EVER: JobFunction[None, None] = JobFunction(f"{__name__}:wait_for_ever")
WORK_UNTIL_STOPPED: JobFunction[None, None] = JobFunction(f"{__name__}:work_until_stopped")
SAVE_WHEN_PAUSED: JobFunction[None, int, int] = JobFunction(f"{__name__}:save_when_paused")
IS_PAUSED: JobFunction[None, bool] = JobFunction(f"{__name__}:is_paused")
LOG_SOMETHING: JobFunction[None, None] = JobFunction(f"{__name__}:log_something")
ON_A_GPU: JobFunction[None, None] = JobFunction(f"{__name__}:on_a_gpu")


@ADD.implements
def add(job: Job[int], spec: Sum) -> int:
    """Report twice, hand over a milestone, and return the sum."""
    job.report(1)
    job.milestone(spec.left)
    job.report(2)
    return spec.left + spec.right


@PROCESS_ID.implements
def process_id(_job: Job, _spec: None) -> int:
    """Return the child's process id."""
    return os.getpid()


@HANG.implements
def hang(_job: Job, _spec: None) -> None:
    """Report nothing, and never end."""
    threading.Event().wait()


@REPORT_FOR_LONGER.implements
def report_for_longer(job: Job, seconds: float) -> str:
    """Report progress for some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        job.report(1)
        time.sleep(0.05)
    return "done"


@FROZEN.implements
def frozen(_job: Job, _spec: None) -> int:
    """Return how many objects the collector of garbage leaves out."""
    return gc.get_freeze_count()


@HAS_IMPORTED.implements
def has_imported(_job: Job, module: str) -> bool:
    """Return whether this process has imported a module."""
    return module in sys.modules


@REFUSE.implements
def refuse(_job: Job, _spec: None) -> None:
    """Raise a domain error."""
    raise InvalidInput("patch 7 has label 9; expected 0 to 2")


@BREAK_DOWN.implements
def break_down(_job: Job, _spec: None) -> None:
    """Raise an unexpected error."""
    raise RuntimeError("planted")


@DIE.implements
def die(_job: Job, _spec: None) -> None:
    """End as the out-of-memory killer ends a process."""
    os.kill(os.getpid(), signal.SIGKILL)


@WAIT_FOR_EVER.implements
def wait_for_ever(job: Job, _spec: None) -> None:
    """Report once, and never return."""
    job.report(0)
    threading.Event().wait()


@WORK_UNTIL_STOPPED.implements
def work_until_stopped(job: Job, _spec: None) -> None:
    """Work, batch by batch, until a stop is requested."""
    for done in itertools.count():
        job.report(done)
        job.stop_if_requested()


@SAVE_WHEN_PAUSED.implements
def save_when_paused(job: Job[int], _spec: None) -> int:
    """Work until paused; then hand over how much is done, and return it."""
    for done in itertools.count():
        job.report(done)
        if job.paused():
            job.milestone(done)
            return done
    raise AssertionError("counting never ends")


@IS_PAUSED.implements
def is_paused(job: Job, _spec: None) -> bool:
    """Return whether the job is paused before it begins."""
    return job.paused()


@LOG_SOMETHING.implements
def log_something(_job: Job, _spec: None) -> None:
    """Write a line to the log."""
    get_logger(__name__).info("from a child")


@ON_A_GPU.implements
def on_a_gpu(job: Job, _spec: None) -> None:
    """Report from a process whose torch has a GPU of 1,024 bytes in use."""
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        current_device=lambda: 0,
        mem_get_info=lambda _: (1024, 2048),
        memory_reserved=lambda _: 1024,
    )
    sys.modules["torch"] = SimpleNamespace(cuda=cuda)  # type: ignore[assignment]
    job.report(1)
