"""The columns of every task: its state, its progress, why it failed, and when it ran."""

import time
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Float, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.common.errors import Unavailable
from services.common.observability.logs import get_logger
from services.common.progress import Progress
from services.common.records.database import Records
from services.common.records.types import ModelColumn, UtcTime, now

log = get_logger(__name__)

ACTIVE = ("queued", "running")
ENDED = ("completed", "failed", "cancelled")
"""The only other state is `paused`."""

PROGRESS_INTERVAL_S = 0.5


class Requeue(BaseModel):
    """When a failed task was queued again (ISO 8601), and why it had failed."""

    model_config = ConfigDict(frozen=True)

    at: str
    reason: str


class TaskColumns:
    """The columns of a table of tasks. A task is queued, then running, then in one of the states ENDED."""

    state: Mapped[str] = mapped_column(String(16), default="queued")
    error: Mapped[str] = mapped_column(Text, default="")
    progress: Mapped[Progress] = mapped_column(ModelColumn(Progress), default=Progress)
    created: Mapped[datetime] = mapped_column(UtcTime, default=now)
    started: Mapped[datetime | None] = mapped_column(UtcTime)
    finished: Mapped[datetime | None] = mapped_column(UtcTime)
    parked: Mapped[str] = mapped_column(String(16), default="", server_default="")
    """`command` or `event` if the task failed because such a message was parked: a replay of it sets the task back.
    Empty for any other task, and for tasks that failed under earlier versions."""
    requeues: Mapped[list[Requeue]] = mapped_column(ModelColumn(list[Requeue]), default=list, server_default="[]")

    @property
    def ended(self) -> bool:
        """Whether the task is completed, failed or cancelled."""
        return self.state in ENDED

    @property
    def seconds(self) -> float:
        """The time that the task has run, in seconds."""
        if self.started is None:
            return 0.0
        return ((self.finished or now()) - self.started).total_seconds()

    def begin(self) -> None:
        """Record that the task runs, or runs again after its process died."""
        self.state = "running"
        self.started = self.started or now()

    def end(self, state: str, error: str = "") -> None:
        """Record that the task has ended. A task that has ended before keeps its first end."""
        if not self.ended:
            self.state, self.error, self.finished = state, error, now()
            self.started = self.started or self.finished

    def requeue(self) -> None:
        """Record that a task that failed is queued again, and why it had failed."""
        self.requeues = [*self.requeues, Requeue(at=now().isoformat(), reason=self.error)]
        self.state, self.error, self.parked = "queued", "", ""
        self.started = self.finished = None


class WorkColumns(TaskColumns):
    """The columns of a table of tasks that jobs perform, for a plan or alone. Such a task can also be paused, before it
    begins or while it runs."""

    plan_id: Mapped[str] = mapped_column(String(64), default="", index=True)
    paused: Mapped[datetime | None] = mapped_column(UtcTime)
    paused_s: Mapped[float] = mapped_column(Float, default=0.0)

    @property
    def active(self) -> bool:
        """Whether jobs may work on the task: it is queued or running."""
        return self.state in ACTIVE

    @property
    def seconds(self) -> float:
        """The time that the task has run, in seconds, without its pauses."""
        if self.started is None:
            return 0.0
        return ((self.finished or self.paused or now()) - self.started).total_seconds() - self.paused_s

    def pause(self) -> None:
        """Record that the task waits until it is resumed or ends."""
        self.state, self.paused = "paused", now()

    def resume(self) -> None:
        """Record that the task waits for a job again."""
        self._end_pause()
        self.state = "queued"

    def end(self, state: str, error: str = "") -> None:
        """Record that the task has ended, perhaps during a pause. A task that has ended before keeps its first end."""
        self._end_pause()
        super().end(state, error)

    def complete(self, total: float | None = None) -> None:
        """Record that the task is completed, with all of `total` done, or all of the expected total without one. The
        newest report of progress may have been lost."""
        if not self.ended and self.progress != Progress():
            total = self.progress.total if total is None else total
            self.progress = self.progress.model_copy(update={"done": total, "total": total})
        self.end("completed")

    def requeue(self) -> None:
        """Record that a task that failed is queued again. The time that it had run counts, the time since does not."""
        started, idle = self.started, now() - (self.finished or now())
        super().requeue()
        self.started = started
        self.paused_s = (self.paused_s or 0.0) + idle.total_seconds()

    def _end_pause(self) -> None:
        if self.paused is not None and self.started is not None:
            self.paused_s = (self.paused_s or 0.0) + (now() - self.paused).total_seconds()
        self.paused = None


class ProgressWriter:
    """Writes the progress of a job into its record, at most twice a second. Progress may be lost, unlike results."""

    def __init__(self, records: Records, table: type[Any], key: str) -> None:
        self._records, self._table, self._key = records, table, key
        self._written = 0.0

    def __call__(self, progress: Progress) -> None:
        """Write the newest progress of the job, unless the last one was written just before."""
        if time.monotonic() - self._written < PROGRESS_INTERVAL_S:
            return
        self._written = time.monotonic()
        try:
            with self._records.transaction() as session:
                row = session.get(self._table, self._key, with_for_update=True)
                if row is None or row.ended:
                    return
                row.progress = progress
                if row.active:
                    row.begin()  # it may have been paused and resumed before its job noticed
        except Unavailable as error:
            log.info("progress lost", key=self._key, reason=str(error))
