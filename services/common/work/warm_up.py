"""Warm children: a runner's child is spawned, and imports what its jobs need, before the first job comes.

Importing torch costs seconds, which a plan would pay once a service.
"""

import importlib
import threading

from services.common.errors import PrimitivesError
from services.common.observability.logs import get_logger
from services.common.work.jobs import Job, JobRunner

log = get_logger(__name__)


def warm(runner: JobRunner, module: str) -> threading.Thread:
    """Have a runner's child import a module, beside everything else; a job that comes meanwhile waits for it."""
    thread = threading.Thread(target=_warm, args=(runner, module), name=f"warm:{runner.name}", daemon=True)
    thread.start()
    return thread


def import_module(_job: Job, *, module: str) -> None:
    """What the child does."""
    importlib.import_module(module)


def _warm(runner: JobRunner, module: str) -> None:
    try:
        runner.run(f"{__name__}:import_module", {"module": module}, lambda _: None)
    except PrimitivesError as error:  # no job is lost: the first one meets the same, and answers for it
        log.warning("child not warm", runner=runner.name, reason=str(error))
