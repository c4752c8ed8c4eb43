"""Tasks: recorded work that jobs do under the control of its record, whichever process the record is changed by.

A task is queued, running, paused, or ended. What its state allows is decided here, once for all services; what there is
to do, and whom to tell, is decided by each.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from services.common.errors import Conflict, JobStopped, NotFound, Unavailable
from services.common.observability.instrumentation import observed_job
from services.common.observability.logs import get_logger
from services.common.observability.tracing import about
from services.common.records import Records, WorkColumns
from services.common.work.jobs import LEAVE_S, JobRunner, Order
from services.common.work.ports import Ports

log = get_logger(__name__)

Verb = Literal["pause", "resume", "cancel"]

ALLOWED: dict[Verb, tuple[str, ...]] = {
    "pause": ("queued", "running"),
    "resume": ("paused",),
    "cancel": ("queued", "running", "paused"),
}
"""The states that a verb is for."""

PAST: dict[Verb, str] = {"pause": "paused", "resume": "resumed", "cancel": "cancelled"}

LOOK_INTERVAL_S = 1.0

R = TypeVar("R", bound=WorkColumns)


@dataclass
class Tasks(ABC, Generic[R]):
    """What all tasks of one table have in common."""

    ports: Ports
    runner: JobRunner

    noun: ClassVar[str]
    table: ClassVar[type[Any]]

    @abstractmethod
    def enqueue(self, session: Session, task: R) -> None:
        """Send the commands of all that is not done. Whoever gets one twice does it once."""

    @abstractmethod
    def publish_completed(self, session: Session, task: R) -> None:
        """Publish the event that a task is completed."""

    @abstractmethod
    def publish_failed(self, session: Session, task: R) -> None:
        """Publish the event that a task has failed or was cancelled, if anybody is told."""

    def act(self, verb: Verb, key: str) -> None:
        """Pause, resume or cancel a task; a job at work on it stops within five seconds. Conflict if its state does not
        allow it."""
        with self.ports.records.transaction() as session:
            self.act_on(session, verb, self.locked(session, key))

    def act_on(self, session: Session, verb: Verb, task: R) -> None:
        """As `act`, in a transaction that holds the task locked."""
        if task.state not in ALLOWED[verb]:
            raise Conflict(
                f"{self.noun} {_key(task)} is {task.state}; only a {' or '.join(ALLOWED[verb])} one can be {PAST[verb]}"
            )
        if verb == "pause":
            task.pause()
        elif verb == "resume":
            task.resume()
            self.enqueue(session, task)
        else:
            self.fail_or_cancel(session, task, "cancelled", "cancelled by a caller")

    def act_on_plan(self, verb: Verb, plan_id: str) -> None:
        """As `act`, for the task of a plan. NotFound before it has begun."""
        with self.ports.records.transaction() as session:
            rows = select(self.table).where(self.table.plan_id == plan_id).with_for_update()
            task = session.scalars(rows).first() if plan_id else None
            if task is None:
                raise NotFound(f"there is no {self.noun} of a plan {plan_id!r}")
            self.act_on(session, verb, task)

    def fail_or_cancel(self, session: Session, task: R, state: str, reason: str) -> None:
        """Record that a task has failed or was cancelled, and tell it, unless it has ended."""
        if not task.ended:
            task.end(state, reason)
            self.publish_failed(session, task)

    def recover(self) -> None:
        """Ask again for what an earlier process left undone, and tell again of what is completed: a bus that forgets
        with its process may have lost either, and whoever has handled it ignores it. What is paused stays paused."""
        with self.ports.records.transaction() as session:
            for task in session.scalars(select(self.table)).all():
                if task.state == "completed":
                    self.publish_completed(session, task)
                elif task.active:
                    self.enqueue(session, task)

    def locked(self, session: Session, key: str) -> R:
        """The record, which nobody else changes until the transaction ends. NotFound if there is none."""
        task: R | None = session.get(self.table, key, with_for_update=True)
        if task is None:
            raise NotFound(f"there is no {self.noun} {key!r}")
        return task

    def run(
        self,
        key: str,
        target: str,
        arguments: dict[str, Any],
        on_progress: Callable[[dict[str, Any]], None],
        on_milestone: Callable[[dict[str, Any]], None] = lambda _: None,
        pause_s: float = LEAVE_S,
    ) -> Any:
        """The result of a job that works on a task; None if it stopped, because the task was paused or has ended."""
        about(plan_id=self._plan_of(key), task_id=key)
        orders = RecordedOrders(self.ports.records, self.table, key)
        try:
            with observed_job(target) as alive:

                def heard(progress: dict[str, Any]) -> None:
                    alive()
                    on_progress(progress)

                return self.runner.run(target, arguments, heard, orders, on_milestone, pause_s)
        except JobStopped as reason:
            log.info("job stopped", task=key, job=target, reason=str(reason))
            return None

    def _plan_of(self, key: str) -> str:
        with self.ports.records.reading() as session:
            query = select(self.table.plan_id).where(inspect(self.table).primary_key[0] == key)
            return session.scalar(query) or ""


class RecordedOrders:
    """What the state of a record says to the job at work on it, looked up once a second. While the records do not
    answer, what they said last stands: the job is not ended for it."""

    def __init__(self, records: Records, table: type[Any], key: str) -> None:
        self._records = records
        self._query = select(table.state).where(inspect(table).primary_key[0] == key)
        self._looked = -math.inf
        self._order = Order.WORK

    def __call__(self) -> Order:
        """The newest order."""
        if time.monotonic() - self._looked >= LOOK_INTERVAL_S:
            self._look()
            self._looked = time.monotonic()
        return self._order

    def _look(self) -> None:
        try:
            with self._records.reading() as session:
                state = session.scalar(self._query)
        except Unavailable as error:
            log.warning("orders not read", reason=str(error))
            return
        orders = {"queued": Order.WORK, "running": Order.WORK, "paused": Order.PAUSE}
        self._order = orders.get(state or "", Order.CANCEL)


def _key(task: WorkColumns) -> str:
    return str(inspect(task).identity[0])
