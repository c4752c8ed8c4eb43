"""Functions that tests run in child processes."""

import itertools
import os
import signal
import sys
import threading
from types import SimpleNamespace
from typing import Any

from services.common.errors import InvalidInput
from services.common.observability.logs import get_logger
from services.common.work.jobs import Job


def add(job: Job, *, left: int, right: int) -> int:
    """Report twice, hand over a milestone, and return the sum."""
    job.report(done=1)
    job.milestone(left=left)
    job.report(done=2)
    return left + right


def process_id(_job: Job) -> int:
    """The child's own process id."""
    return os.getpid()


def has_imported(_job: Job, *, module: str) -> bool:
    """Whether this process has imported a module."""
    return module in sys.modules


def refuse(_job: Job) -> None:
    """Fail with an error of ours."""
    raise InvalidInput("patch 7 has label 9; expected 0 to 2")


def break_down(_job: Job) -> None:
    """Fail with an error that is not ours."""
    raise RuntimeError("planted")


def die(_job: Job) -> None:
    """End as the out-of-memory killer would have it."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for_ever(job: Job, **_: Any) -> None:
    """Say that it runs, and never end."""
    job.report(done=0)
    threading.Event().wait()


def work_until_told(job: Job) -> None:
    """Work, batch by batch, until it is told to stop."""
    for done in itertools.count():
        job.report(done=done)
        job.stop_if_requested()


def keep_when_paused(job: Job) -> int:
    """Work until it is paused, hand over how far it came, and return that."""
    for done in itertools.count():
        job.report(done=done)
        if job.paused():
            job.milestone(done=done)
            return done
    raise AssertionError("counting ends never")


def keep_at_once(job: Job) -> bool:
    """Whether it is paused before it has begun."""
    return job.paused()


def log_something(_job: Job) -> None:
    """Write a line to the log."""
    get_logger(__name__).info("from a child")


def on_a_gpu(job: Job) -> None:
    """Report from a process whose torch has a GPU of 1,024 bytes in use."""
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        current_device=lambda: 0,
        mem_get_info=lambda _: (1024, 2048),
        memory_reserved=lambda _: 1024,
    )
    sys.modules["torch"] = SimpleNamespace(cuda=cuda)  # type: ignore[assignment]
    job.report(done=1)
