"""Jobs in child processes: one at a time a runner, with progress, cancellation, and a failure that is always recorded.

A crash, an out-of-memory kill or a hard cancel takes the child only. The child stays warm between jobs, since
importing torch costs seconds, and a new one is spawned after any of these.
"""

import importlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from services.common import errors
from services.common.logs import configure_logs, get_logger

log = get_logger(__name__)

POLL_S = 0.1
STOP_GRACE_S = 5.0

Progress = dict[str, Any]


class Job:
    """What a job function is given beside its arguments: a way to tell how far it is."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def report(self, **progress: Any) -> None:
        """Tell how far the job is, e.g. `report(done=32, total=600, unit="patches")`. Lossy: the newest counts."""
        self._connection.send(("progress", progress))

    def milestone(self, **facts: Any) -> None:
        """Hand over something that is finished before the job is, such as a checkpoint. Never lost."""
        self._connection.send(("milestone", facts))


@dataclass
class Cancellation:
    """The names of the jobs that were asked to stop; checked by the runner while a job runs."""

    _names: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def request(self, name: str) -> None:
        """Ask a job to stop, now or as soon as it starts."""
        with self._lock:
            self._names.add(name)

    def requested(self, name: str) -> bool:
        """Whether the job of this name was asked to stop."""
        with self._lock:
            return name in self._names

    def forget(self, name: str) -> None:
        """The job has stopped."""
        with self._lock:
            self._names.discard(name)


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
        cancelled: Callable[[], bool] = lambda: False,
        on_milestone: Callable[[Progress], None] = lambda _: None,
    ) -> Any:
        """The function's result. Raises the domain error that it raised; JobFailed for any other exception, with its
        traceback; JobCrashed when the child ends without an answer; JobCancelled when `cancelled()` turns true;
        Unavailable when the runner is closed meanwhile."""
        with self._lock:
            connection = self._ensure_child()
            try:
                connection.send((target, dict(arguments)))
                return self._await(connection, {"progress": on_progress, "milestone": on_milestone}, cancelled)
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
        self, connection: Connection, listeners: Mapping[str, Callable[[Progress], None]], cancelled: Callable[[], bool]
    ) -> Any:
        while True:
            if self._closed:
                raise errors.Unavailable("the service is stopping; the job is given back")
            if cancelled():
                raise errors.JobCancelled("the job was cancelled")
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
        child.terminate()
        child.join(STOP_GRACE_S)
        if child.is_alive():
            child.kill()
            child.join()
        return child.exitcode


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
    configure_logs(log_format, log_level)
    while True:
        try:
            target, arguments = connection.recv()
        except EOFError:
            return
        connection.send(_call(target, arguments, Job(connection)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(target: str, arguments: dict[str, Any], job: Job) -> tuple[str, Any]:
    module, _, function = target.partition(":")
    try:
        return "result", getattr(importlib.import_module(module), function)(job, **arguments)
    except Exception as error:  # whatever a job raises is the parent's to record
        return "error", (type(error).__name__, str(error), traceback.format_exc())
