"""Jobs in child processes: one at a time a runner, with progress, a stop, and a failure that is always recorded.

A job that is to stop is asked first, and leaves in order; one that does not is killed. A crash, an out-of-memory kill
or a kill of ours takes the child only. The child stays warm between jobs, since importing torch costs seconds, and a
new one is spawned after any of these.
"""

import importlib
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from enum import Enum
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from services.common import errors
from services.common.machine.cores import limit_openmp
from services.common.machine.disk import transient_faults
from services.common.observability.logs import configure_logs, get_logger, log_ids, log_scope
from services.common.observability.metrics import GPU_MEMORY, service_of

log = get_logger(__name__)

POLL_S = 0.1
LEAVE_S = 3.0
"""Seconds that a job has to leave in order, unless it is given more: with the second in which a stop is noticed, a
pause or a cancel takes effect within five."""

GPU_INTERVAL_S = 2.0
"""Seconds between two reports of a GPU's memory."""

Progress = dict[str, Any]


class Order(Enum):
    """What a job is to do, as those who watch over it see it now."""

    WORK = "work"
    PAUSE = "pause"
    """Keep what can be kept, and leave."""
    CANCEL = "cancel"
    """Leave: nothing of it is wanted any more."""


class Job:
    """What a job function is given beside its arguments: a way to tell how far it is, and to be asked to stop."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._order = Order.WORK
        self._gpu_told = -math.inf

    def report(self, **progress: Any) -> None:
        """Tell how far the job is, e.g. `report(done=32, total=600, unit="patches")`. Lossy: the newest counts."""
        self._connection.send(("progress", progress))
        if time.monotonic() - self._gpu_told >= GPU_INTERVAL_S:
            self._gpu_told = time.monotonic()
            if memory := gpu_memory():
                self.report_gpu_memory(memory)

    def report_gpu_memory(self, memory: dict[str, dict[str, int]]) -> None:
        """Tell how full the memory of GPUs is, as `gpu_memory` says; `report` does it from time to time."""
        self._connection.send(("gpu", memory))

    def milestone(self, **facts: Any) -> None:
        """Hand over something that is finished before the job is, such as a checkpoint. Never lost."""
        self._connection.send(("milestone", facts))

    def stop_if_requested(self) -> None:
        """JobStopped if it is to stop: for a job that keeps nothing of what is half done. Look between batches."""
        if self._newest_order() is not Order.WORK:
            raise errors.JobStopped("the job left as it was told to")

    def paused(self) -> bool:
        """Whether it is to keep what it has done and to leave, for a job that can. JobStopped if nothing of it is
        wanted any more."""
        order = self._newest_order()
        if order is Order.CANCEL:
            raise errors.JobStopped("the job left as it was told to")
        return order is Order.PAUSE

    def _newest_order(self) -> Order:
        while self._connection.poll():
            self._order = self._connection.recv()
        return self._order


class JobRunner:
    """Runs functions named `module:function` in a spawned child, one after the other.

    The function is called as `function(job, **arguments)`; arguments and result are plain picklable values.
    """

    def __init__(self, name: str, log_format: str = "console", log_level: str = "info") -> None:
        self.name = name
        self._log_settings = (log_format, log_level)
        self._lock = threading.Lock()
        self._child: BaseProcess | None = None
        self._connection: Connection | None = None
        self._closed = False

    def run(
        self,
        target: str,
        arguments: Mapping[str, Any],
        on_progress: Callable[[Progress], None],
        order: Callable[[], Order] = lambda: Order.WORK,
        on_milestone: Callable[[Progress], None] = lambda _: None,
        pause_s: float = LEAVE_S,
    ) -> Any:
        """The function's result. Raises the domain error that it raised; JobFailed for any other exception, with its
        traceback; JobCrashed when the child ends without an answer; Unavailable when the runner is closed meanwhile.

        When `order()` is no longer to work, the function is told so. JobStopped if it leaves, or is killed since it
        has not left within LEAVE_S of a cancel or `pause_s` of a pause; what it returns instead is its result.
        """
        with self._lock:
            connection = self._ensure_child()
            try:
                connection.send((target, dict(arguments), log_ids()))
                listeners = {"progress": on_progress, "milestone": on_milestone, "gpu": _gpu_listener(target)}
                return self._await(connection, listeners, _Overseer(connection, order, pause_s))
            except (EOFError, BrokenPipeError, ConnectionResetError) as error:
                code = self._discard_child()
                raise errors.JobCrashed(f"the job {target} ended without an answer (exit code {code})") from error
            except _Refused as refusal:
                raise refusal.error from refusal
            except BaseException:
                # A listener raised, or the child is broken: it may still be at work, and the answer that it will give
                # must not be taken for that of the next job.
                self._discard_child()
                raise

    def close(self) -> None:
        """End the child; a job that runs raises Unavailable in its caller, which gives its message back."""
        self._closed = True
        with self._lock:
            self._discard_child()

    def _await(
        self, connection: Connection, listeners: Mapping[str, Callable[[Progress], None]], overseer: "_Overseer"
    ) -> Any:
        while True:
            if self._closed:
                raise errors.Unavailable("the service is stopping; the job is given back")
            overseer.look()
            if not connection.poll(POLL_S):
                continue
            kind, content = connection.recv()
            if kind in listeners:
                listeners[kind](content)
            elif kind == "result":
                return content
            else:
                raise _as_error(*content)

    def _ensure_child(self) -> Connection:
        if self._closed:
            raise errors.Unavailable("the service is stopping; the job is given back")
        if self._child is not None and self._child.is_alive() and self._connection is not None:
            return self._connection
        self._discard_child()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._child = context.Process(
            target=_child_main, args=(theirs, *self._log_settings), name=self.name, daemon=True
        )
        self._child.start()
        theirs.close()
        self._connection = ours
        return ours

    def _discard_child(self) -> int | None:
        child, connection = self._child, self._connection
        self._child = self._connection = None
        if connection is not None:
            connection.close()
        if child is None:
            return None
        child.kill()  # it has no handler that a gentler signal would call
        child.join()
        return child.exitcode


def gpu_memory() -> dict[str, dict[str, int]]:
    """Bytes of memory by GPU that this process computes on: reserved by it, used by all, total. Empty without one;
    torch is asked only where the job has loaded it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    device = torch.cuda.current_device()
    free, total = torch.cuda.mem_get_info(device)
    return {str(device): {"reserved": torch.cuda.memory_reserved(device), "used": total - free, "total": total}}


def _gpu_listener(target: str) -> Callable[[dict[str, dict[str, int]]], None]:
    def heard(memory: dict[str, dict[str, int]]) -> None:
        for device, figures in memory.items():
            for kind, size in figures.items():
                GPU_MEMORY.labels(service_of(target), device, kind).set(size)

    return heard


class _Overseer:
    """Passes the orders on to the child, and sees that it follows them in time."""

    def __init__(self, connection: Connection, order: Callable[[], Order], pause_s: float) -> None:
        self._connection, self._order = connection, order
        self._seconds = {Order.PAUSE: pause_s, Order.CANCEL: LEAVE_S}
        self._told = Order.WORK
        self._deadline = math.inf

    def look(self) -> None:
        """Tell the child if it is to stop. JobStopped if it was told and the time is over."""
        order = self._order()
        if order is not self._told and order is not Order.WORK:  # told to stop it stops: it may have left already
            self._connection.send(order)
            self._told = order
            self._deadline = min(self._deadline, time.monotonic() + self._seconds[order])
        if time.monotonic() > self._deadline:
            raise errors.JobStopped(f"the job was told to {self._told.value}, did not leave in time, and was killed")


class _Refused(Exception):
    """The child answered with a domain error: it is in order, and ready for the next job."""

    def __init__(self, error: errors.PrimitivesError) -> None:
        super().__init__(str(error))
        self.error = error


def _as_error(name: str, message: str, trace: str) -> Exception:
    """The child's error again, where it is one of ours."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, errors.PrimitivesError):
        return _Refused(kind(message))
    log.error("job failed", error=name, message=message, trace=trace)
    return errors.JobFailed(f"{name}: {message}")


def _child_main(connection: Connection, log_format: str, log_level: str) -> None:
    """Serve jobs until the parent closes the pipe; end at once, also in mid-job, when the parent dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    # Read when torch is first imported, below: idle OpenMP threads that spin slow two jobs on the same cores tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    limit_openmp()
    configure_logs(log_format, log_level)
    while True:
        try:
            message = connection.recv()
        except EOFError:
            return
        if isinstance(message, Order):
            continue  # for the job before, which had answered when it came
        target, arguments, ids = message
        with log_scope(**ids):
            connection.send(_call(target, arguments, Job(connection)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(target: str, arguments: dict[str, Any], job: Job) -> tuple[str, Any]:
    module, _, function = target.partition(":")
    log.debug("job begins", job=function)
    try:
        with transient_faults(f"the job {target}"):
            return "result", getattr(importlib.import_module(module), function)(job, **arguments)
    except Exception as error:  # whatever a job raises is the parent's to record
        return "error", (type(error).__name__, str(error), traceback.format_exc())
