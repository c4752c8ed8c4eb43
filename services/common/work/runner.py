"""Runs jobs in a child process, one at a time, with progress, a way to stop, and failures that are always raised.

The runner first requests a job to stop. If the job does not return in time, its child is killed. A crash, an
out-of-memory kill or a kill by the runner ends the child only. The child stays warm between jobs, since importing torch
takes seconds; after a crash or a kill the runner spawns a new one.
"""

import math
import multiprocessing
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from services.common import errors
from services.common.observability.logs import get_logger, log_ids
from services.common.observability.metrics import GPU_MEMORY
from services.common.work.child import serve_jobs
from services.common.work.jobs import GpuMemory, JobFunction, JobReport, M, Order, S, T

log = get_logger(__name__)

POLL_S = 0.1
STOP_S = 3.0
"""Seconds that a job has to stop in order, unless the caller allows more. A pause or a cancel is noticed within one
second, so it takes effect within five."""


class JobRunner:
    """Runs job functions in a spawned child, one after the other."""

    def __init__(
        self, name: str, log_format: str = "console", log_level: str = "info", silence_s: float = math.inf
    ) -> None:
        self.name = name
        self._silence_s = silence_s
        self._log_settings = (log_format, log_level)
        self._lock = threading.Lock()
        self._child: BaseProcess | None = None
        self._connection: Connection | None = None
        self._closed = False

    def run(
        self,
        job: JobFunction[S, T, M],
        spec: S,
        on_report: Callable[[JobReport], None] = lambda _: None,
        order: Callable[[], Order] = lambda: Order.WORK,
        on_milestone: Callable[[M], None] = lambda _: None,
        pause_s: float = STOP_S,
    ) -> T:
        """Return the function's result. Raise the domain error that it raised; JobFailed for any other exception, with
        its name and message; JobCrashed if the child ends without an answer, or reports nothing for `silence_s` and is
        killed; Unavailable if the runner is closed.

        When `order()` is no longer WORK, the job is requested to stop. JobStopped if it stops, or if it is killed
        because it did not stop within STOP_S of a cancel or `pause_s` of a pause. If it returns instead, that is its
        result.
        """
        handlers: dict[str, Callable[[Any], None]] = {
            "report": on_report,
            "milestone": on_milestone,
            "gpu": _gpu_handler(job.service),
        }
        with self._lock:
            connection = self._ensure_child()
            try:
                connection.send((job.target, spec, log_ids()))
                result: T = self._await(connection, handlers, _Supervisor(connection, order, pause_s, self._silence_s))
                return result
            except (EOFError, BrokenPipeError, ConnectionResetError) as error:
                code = self._discard_child()
                raise errors.JobCrashed(f"the job {job.target} ended without an answer (exit code {code})") from error
            except _DomainError as wrapped:
                raise wrapped.error from wrapped
            except BaseException:
                # A handler raised, or the child is broken. The child may still be at work, and its later answer must
                # not be taken for the answer of the next job.
                self._discard_child()
                raise

    def close(self) -> None:
        """End the child. A running job raises Unavailable in its caller, and its message is delivered again."""
        self._closed = True
        with self._lock:
            self._discard_child()

    def _await(
        self, connection: Connection, handlers: Mapping[str, Callable[[Any], None]], supervisor: "_Supervisor"
    ) -> Any:
        while True:
            self._refuse_if_closed()
            supervisor.check()
            if not connection.poll(POLL_S):
                continue
            kind, content = connection.recv()
            supervisor.note_message()
            if kind in handlers:
                handlers[kind](content)
            elif kind == "result":
                return content
            else:
                raise _to_error(*content)

    def _ensure_child(self) -> Connection:
        self._refuse_if_closed()
        if self._child is not None and self._child.is_alive() and self._connection is not None:
            return self._connection
        self._discard_child()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._child = context.Process(
            target=serve_jobs, args=(theirs, *self._log_settings), name=self.name, daemon=True
        )
        self._child.start()
        theirs.close()
        self._connection = ours
        return ours

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise errors.Unavailable("the service is stopping; the job will be delivered again")

    def _discard_child(self) -> int | None:
        child, connection = self._child, self._connection
        self._child = self._connection = None
        if connection is not None:
            connection.close()
        if child is None:
            return None
        child.kill()  # it handles no gentler signal
        child.join()
        return child.exitcode


class _Supervisor:
    """Sends orders to the child, and checks that it follows them in time and makes progress."""

    def __init__(self, connection: Connection, order: Callable[[], Order], pause_s: float, silence_s: float) -> None:
        self._connection, self._order = connection, order
        self._silence_s, self._last_message = silence_s, time.monotonic()
        self._seconds = {Order.PAUSE: pause_s, Order.CANCEL: STOP_S}
        self._sent = Order.WORK
        self._deadline = math.inf

    def check(self) -> None:
        """Send a new order to the child. Raise JobStopped if an earlier one was not followed in time, and JobCrashed if
        the child has been silent for too long: it hangs."""
        order = self._order()
        if order is not self._sent and order is not Order.WORK:  # a stop is never withdrawn: the job may have returned
            self._connection.send(order)
            self._sent = order
            self._deadline = min(self._deadline, time.monotonic() + self._seconds[order])
        if time.monotonic() > self._deadline:
            raise errors.JobStopped(f"the job did not {self._sent.value} in time and was killed")
        if time.monotonic() > self._last_message + self._silence_s:
            raise errors.JobCrashed(f"the job reported nothing for {self._silence_s:g} s and was killed")

    def note_message(self) -> None:
        """Note that the child has sent something."""
        self._last_message = time.monotonic()


class _DomainError(Exception):
    """The child answered with a domain error. It is in order, and ready for the next job."""

    def __init__(self, error: errors.PrimitivesError) -> None:
        super().__init__(str(error))
        self.error = error


def _to_error(name: str, message: str, trace: str) -> Exception:
    """The child's error as an exception of this process."""
    error = errors.error_of(name, message)
    if not isinstance(error, errors.JobFailed):
        return _DomainError(error)
    log.error("job failed", error=name, message=message, trace=trace)
    return error


def _gpu_handler(service: str) -> Callable[[GpuMemory], None]:
    def handle(memory: GpuMemory) -> None:
        for device, figures in memory.items():
            for kind, size in figures.items():
                GPU_MEMORY.labels(service, device, kind).set(size)

    return handle
