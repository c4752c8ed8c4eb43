"""The child process that runs jobs, one after the other."""

import gc
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

from services.common.machine.cores import limit_openmp
from services.common.machine.disk import transient_faults
from services.common.observability.logs import configure_logs, get_logger, log_scope
from services.common.work.jobs import Job, Order

log = get_logger(__name__)


def serve_jobs(connection: Connection, log_format: str, log_level: str) -> None:
    """Run jobs until the parent closes the pipe. The process ends at once, also during a job, when the parent dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    # torch reads this when it is first imported, by a job: idle OpenMP threads that spin slow two jobs tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    limit_openmp()
    configure_logs(log_format, log_level)
    while True:
        try:
            message = connection.recv()
        except EOFError:
            return
        if isinstance(message, Order):
            continue  # it was meant for the job before, which had returned already
        target, spec, ids = message
        with log_scope(**ids):
            connection.send(_call(target, spec, Job(connection)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(target: str, spec: Any, job: Job[Any]) -> tuple[str, Any]:
    module, _, function = target.partition(":")
    log.debug("job begins", job=function)
    try:
        with transient_faults(f"the job {target}"):
            return "result", getattr(import_job(module), function)(job, spec)
    except Exception as error:  # the parent records whatever a job raises
        return "error", (type(error).__name__, str(error), traceback.format_exc())


def import_job(module: str) -> ModuleType:
    """Import the module of a job. What its import creates lives as long as the process, so later collections of garbage
    leave it out: with torch, each full collection took a quarter of a second to go through it."""
    if module not in sys.modules:
        gc.collect()  # so that no garbage of earlier jobs is kept
        importlib.import_module(module)
        gc.freeze()
    return sys.modules[module]
