"""Tasks: work that takes long, recorded in a row, done by jobs in child processes, and controlled through its row.

A task is queued, running, paused or ended. This module is the one place where the life of every task is written: what
its state allows, how a command is performed, and how a task fails, is cancelled or is recovered. A service adds the
spec of each job and what to record of its result.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal

from google.protobuf import message
from prometheus_client import Counter
from sqlalchemy import inspect, select
from sqlalchemy.orm import Session
from typing_extensions import TypeVar

from services.common.bus import Replay
from services.common.errors import Conflict, JobStopped, NotFound
from services.common.observability.instrumentation import observed_job
from services.common.observability.logs import get_logger
from services.common.observability.metrics import count_growth
from services.common.observability.tracing import add_trace_ids
from services.common.progress import Progress
from services.common.records import ACTIVE, Lease, ProgressWriter, WorkColumns, get_row
from services.common.redaction import quoted
from services.common.work.jobs import JobFunction, JobReport, M, S, T
from services.common.work.orders import RecordedOrders
from services.common.work.ports import Ports
from services.common.work.replays import replay_command, replay_event
from services.common.work.runner import STOP_S, JobRunner

log = get_logger(__name__)

Verb = Literal["pause", "resume", "cancel"]

ALLOWED: dict[Verb, tuple[str, ...]] = {
    "pause": ("queued", "running"),
    "resume": ("paused",),
    "cancel": ("queued", "running", "paused"),
}
"""The states in which each verb is allowed."""

PAST: dict[Verb, str] = {"pause": "paused", "resume": "resumed", "cancel": "cancelled"}

R = TypeVar("R", bound=WorkColumns)


@dataclass(frozen=True)
class Assignment(Generic[S]):
    """What `Step.prepare` returns for one job: its spec, and how its reports become the progress of the task."""

    spec: S
    progress: Callable[[JobReport], Progress] = JobReport.progress


@dataclass(frozen=True)
class Step(Generic[R, S, T, M]):
    """How a command of a task is performed: prepare a job in one transaction, run it, record its result in another."""

    job: JobFunction[S, T, M]
    prepare: Callable[[Session, R], Assignment[S] | None]
    """Build the assignment of an active task; None if the work is done already."""
    record: Callable[[Session, R, T], None]
    """Record the result. It is not called for a task that has ended, but the task may be paused."""
    lease_suffix: str = ""
    """Distinguishes the leases of steps of the same task that may be performed at the same time."""
    counter: Counter | None = None
    """Counts what the job reports as done."""
    save: Callable[[Session, R, M], None] | None = None
    """Record a milestone of the job."""
    pause_s: float = STOP_S
    """Seconds that the job has to save its state when the task is paused."""


@dataclass
class Tasks(ABC, Generic[R]):
    """The rules for tasks of one kind, whose rows are in one table. Each kind is a subclass."""

    ports: Ports
    runner: JobRunner

    noun: ClassVar[str]
    table: ClassVar[type[Any]]
    """The class of the rows. Its primary key, such as `run_id`, is the task's id in messages too."""

    @abstractmethod
    def enqueue(self, session: Session, task: R) -> None:
        """Send the commands of all work that is not done. A command that arrives twice is performed once."""

    def publish_completed(self, session: Session, task: R) -> None:
        """Publish the event that a task is completed, if there is one."""

    def publish_failed(self, session: Session, task: R) -> None:
        """Publish the event that a task failed or was cancelled, if there is one."""

    def perform(self, key: str, step: Step[R, S, T, M]) -> None:
        """Perform a step of an active task while holding its lease; do nothing for any other task.

        Busy if another process performs the step now. LeaseLost if another process has taken over: then nothing of
        this result is recorded. A job that is stopped by a pause or a cancel records nothing.
        """
        with self.ports.leases.hold(f"{key}/{step.lease_suffix}" if step.lease_suffix else key) as lease:
            with self.ports.records.transaction() as session:
                task = self.locked(session, key)
                assignment = step.prepare(session, task) if task.active else None
                if assignment is None:
                    return
                task.begin()
            add_trace_ids(plan_id=task.plan_id, task_id=key)
            try:
                result = self._run_job(key, step, assignment, lease)
            except JobStopped as reason:
                log.info("job stopped", task=key, job=step.job.target, reason=str(reason))
                return
            self._commit(key, lease, step.record, result)

    def complete(self, session: Session, task: R, total: float | None = None) -> None:
        """Record that all work of a task is done, and publish it. `total` replaces the expected total of the work."""
        task.complete(total)
        self.publish_completed(session, task)

    def fail_or_cancel(self, session: Session, task: R, state: str, reason: str) -> None:
        """Record that a task failed or was cancelled, and publish it, unless it has ended before."""
        if not task.ended:
            task.end(state, reason)
            self.publish_failed(session, task)

    def command_parked(self, command: message.Message, reason: str) -> None:
        """Fail the task of a command that is not retried."""
        with self.ports.records.transaction() as session:
            task = self.locked(session, self._key_of(command))
            if not task.ended:
                task.parked = "command"
                self.fail_or_cancel(session, task, "failed", reason)

    def command_replayed(self, command: message.Message) -> Replay:
        """Queue the task of a parked command again, with all work that is not done. Conflict if the task has ended in
        another way, or can no longer continue."""
        key = self._key_of(command)
        forget_lost = self.check_results(key)
        with self.ports.records.transaction() as session:
            task = self.locked(session, key)

            def requeue() -> None:
                forget_lost(session)
                task.requeue()
                session.flush()
                self.enqueue(session, task)

            return replay_command(task, f"{self.noun} {key}", requeue)

    def event_replayed(self, key: str) -> Replay:
        """Remove the row of a task that could not begin because its event was parked; see `record_failed`."""
        with self.ports.records.transaction() as session:
            return replay_event(session, session.get(self.table, key, with_for_update=True), f"{self.noun} {key}")

    def check_results(self, _key: str) -> Callable[[Session], None]:
        """Check what a failed task has stored, since the collector removes it. Return what makes the record forget the
        results that are gone. Conflict if the task cannot continue without them."""
        return lambda _session: None

    def record_failed(self, task: R, reason: str) -> None:
        """Add a failed row for a task that could not begin because its event was parked, so that its plan shows the
        reason. Do nothing if there is a row already."""
        with self.ports.records.transaction() as session:
            if session.get(self.table, getattr(task, self._key_column.name)) is None:
                task.state = "queued"
                task.parked = "event"
                task.end("failed", reason)
                session.add(task)

    def act(self, verb: Verb, key: str) -> None:
        """Pause, resume or cancel a task. A job that works on it stops within five seconds. Conflict if the task's
        state does not allow it."""
        with self.ports.records.transaction() as session:
            self.act_on(session, verb, self.locked(session, key))

    def act_on(self, session: Session, verb: Verb, task: R) -> None:
        """Pause, resume or cancel a task in a transaction that has locked its row."""
        if task.state not in ALLOWED[verb]:
            key = inspect(task).identity[0]
            raise Conflict(
                f"{self.noun} {key} is {task.state}; only a {' or '.join(ALLOWED[verb])} one can be {PAST[verb]}"
            )
        if verb == "pause":
            task.pause()
        elif verb == "resume":
            task.resume()
            self.enqueue(session, task)
        else:
            self.fail_or_cancel(session, task, "cancelled", "cancelled by a caller")

    def act_on_plan(self, verb: Verb, plan_id: str) -> None:
        """Pause, resume or cancel the task of a plan. NotFound before it has begun."""
        with self.ports.records.transaction() as session:
            rows = select(self.table).where(self.table.plan_id == plan_id).with_for_update()
            task = session.scalars(rows).first() if plan_id else None
            if task is None:
                raise NotFound(f"there is no {self.noun} of a plan {quoted(plan_id)}")
            self.act_on(session, verb, task)

    def recover(self) -> None:
        """Enqueue the unfinished tasks again, and publish the completed ones again.

        A bus in memory loses its messages when its process ends. Receivers ignore what they have handled already.
        Paused tasks stay paused.
        """
        with self.ports.records.transaction() as session:
            for task in session.scalars(select(self.table)).all():
                if task.state == "completed":
                    self.publish_completed(session, task)
                elif task.active:
                    self.enqueue(session, task)

    def unattended(self, session: Session, attended: set[str]) -> set[str]:
        """Return the ids of active tasks that no process works on. `attended` are the ids with a lease."""
        return set(session.scalars(select(self._key_column).where(self.table.state.in_(ACTIVE)))) - attended

    def enqueue_again(self, ids: Iterable[str]) -> None:
        """Enqueue tasks whose commands are gone, unless they are not active any more."""
        with self.ports.records.transaction() as session:
            for key in ids:
                task = self.locked(session, key)
                if task.active:
                    self.enqueue(session, task)

    def locked(self, session: Session, key: str) -> R:
        """The task's row, locked until the transaction ends. NotFound if there is none."""
        task: R = get_row(session, self.table, key, self.noun, lock=True)
        return task

    @property
    def _key_column(self) -> Any:
        return inspect(self.table).primary_key[0]

    def _key_of(self, command: message.Message) -> str:
        return str(getattr(command, self._key_column.name))

    def _run_job(self, key: str, step: Step[R, S, T, M], assignment: Assignment[S], lease: Lease) -> T:
        job, write = step.job, ProgressWriter(self.ports.records, self.table, key)
        count = count_growth(step.counter, job.service) if step.counter is not None else None

        def save(milestone: M) -> None:
            if step.save is not None:
                self._commit(key, lease, step.save, milestone)

        with observed_job(job.service, job.name) as count_report:

            def on_report(report: JobReport) -> None:
                count_report()
                if count is not None:
                    count(report.done if report.counted is None else report.counted)
                write(assignment.progress(report))

            orders = RecordedOrders(self.ports.records, self.table, key)
            return self.runner.run(job, assignment.spec, on_report, orders, save, step.pause_s)

    def _commit(self, key: str, lease: Lease, record: Callable[[Session, R, Any], None], content: Any) -> None:
        """Record a result or a milestone, unless the lease is lost or the task has ended."""
        with self.ports.records.transaction() as session:
            lease.check(session)
            task = self.locked(session, key)
            if not task.ended:
                record(session, task, content)
