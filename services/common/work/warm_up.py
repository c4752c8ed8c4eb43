"""Warm children: a runner's child is spawned, and imports what its jobs need, before the first job arrives.

Importing torch takes seconds, which each plan would otherwise pay once a service.
"""

import threading

from services.common.errors import PrimitivesError
from services.common.observability.logs import get_logger
from services.common.work.child import import_job
from services.common.work.jobs import Job, JobFunction
from services.common.work.runner import JobRunner

log = get_logger(__name__)

IMPORT_MODULE: JobFunction[str, None] = JobFunction(f"{__name__}:import_module")


def warm_up(runner: JobRunner, module: str) -> threading.Thread:
    """Have a runner's child import a module in the background. A job that arrives meanwhile waits for it."""
    thread = threading.Thread(target=_warm_up, args=(runner, module), name=f"warm-up:{runner.name}", daemon=True)
    thread.start()
    return thread


@IMPORT_MODULE.implements
def import_module(_job: Job, module: str) -> None:
    """Import a module in the child."""
    import_job(module)


def _warm_up(runner: JobRunner, module: str) -> None:
    try:
        runner.run(IMPORT_MODULE, module)
    except PrimitivesError as error:  # no job is lost: the first one meets the same error and reports it
        log.warning("child not warm", runner=runner.name, reason=str(error))
