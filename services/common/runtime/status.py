"""What a service says of itself while it runs: its tasks, queues and outbox, and whether what it stands on answers.

Said to Prometheus at /metrics, and to people at /v1/status.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services import __version__
from services.common.bus import Depth
from services.common.errors import PrimitivesError, Unavailable
from services.common.observability.logs import get_logger, last_error
from services.common.records import ENDED, Lag, TaskColumns, now
from services.common.work.ports import Ports
from services.common.work.views import Moment

log = get_logger(__name__)

STATES = ("queued", "running", "paused", *ENDED)
INTERVAL_S = 5.0
"""Seconds from one look at a dependency to the next."""
SILENCE_S = 20.0
"""Seconds without an answer after which a dependency counts as away, however long its own time-outs are."""
NO_OBJECT = "status"
"""A key that no object has: whether it is there is asked to hear the store answer."""


class TaskStatus(BaseModel):
    """The tasks of a kind by state, and how long the oldest of those that are queued has been known, in seconds."""

    kind: str
    states: dict[str, int]
    oldest_queued_s: float


class QueueStatus(BaseModel):
    """Messages of a queue that wait, and that were set aside for a person to look at."""

    name: str
    waiting: int
    parked: int


class OutboxStatus(BaseModel):
    """Committed messages that are not sent yet, and the age of the oldest, in seconds."""

    messages: int
    oldest_s: float


class DependencyStatus(BaseModel):
    """Whether records, store or broker answered when last asked, and what they said if not."""

    name: str
    reachable: bool
    told: str = ""


class ErrorStatus(BaseModel):
    """The newest error that the process has logged."""

    at: Moment
    event: str
    told: str


class ServiceStatus(BaseModel):
    """One process of a service. Of what cannot be asked now there is nothing."""

    service: str
    version: str
    started: Moment
    tasks: list[TaskStatus]
    queues: list[QueueStatus]
    outbox: OutboxStatus | None
    dependencies: list[DependencyStatus]
    last_error: ErrorStatus | None


class Monitor(Collector):
    """Looks at the tables of tasks, by kind, and at the queues of one service."""

    def __init__(
        self, service: str, ports: Ports, tables: Mapping[str, type[TaskColumns]], queues: Sequence[str]
    ) -> None:
        self.service = service
        self._ports, self._tables, self._queues = ports, tables, queues
        self._started = now()
        self._depths: dict[str, Depth] = {}
        self._probes = [
            _Probe("records", self._ask_records),
            _Probe("store", self._ask_store),
            _Probe("broker", self._ask_broker),
        ]

    def start(self) -> None:
        """Begin to look."""
        for probe in self._probes:
            probe.start()

    def stop(self) -> None:
        """Look no more. A probe that hangs is left to end with the process."""
        for probe in self._probes:
            probe.stop()

    def status(self) -> ServiceStatus:
        """All of it, as of now; depths of queues as of the last look."""
        tasks, lag = self._recorded()
        error = last_error()
        return ServiceStatus(
            service=self.service,
            version=__version__,
            started=self._started,
            tasks=tasks,
            queues=[QueueStatus(name=name, waiting=depth.waiting, parked=depth.parked) for name, depth in self._seen()],
            outbox=OutboxStatus(messages=lag.messages, oldest_s=lag.oldest_s) if lag is not None else None,
            dependencies=[
                DependencyStatus(name=probe.name, reachable=probe.reachable, told=probe.told) for probe in self._probes
            ],
            last_error=ErrorStatus(at=error.at, event=error.event, told=error.told) if error is not None else None,
        )

    def collect(self) -> Iterable[Metric]:
        """The same as gauges."""
        tasks, lag = self._recorded()
        yield self._gauges(
            "primitives_tasks",
            "Tasks in the records, by state. Replicas of a service share their records: each says the same.",
            ("kind", "state"),
            [((task.kind, state), count) for task in tasks for state, count in task.states.items()],
        )
        yield self._gauges(
            "primitives_oldest_queued_task_age_seconds",
            "Seconds since the oldest task that is queued was asked for; 0 if none is.",
            ("kind",),
            [((task.kind,), task.oldest_queued_s) for task in tasks],
        )
        lags = [] if lag is None else [lag]
        yield self._gauges(
            "primitives_outbox_messages", "Committed messages not sent yet.", (), [((), one.messages) for one in lags]
        )
        yield self._gauges(
            "primitives_outbox_oldest_age_seconds",
            "Age of the oldest of them; 0 if there is none.",
            (),
            [((), one.oldest_s) for one in lags],
        )
        depths = self._seen()
        yield self._gauges(
            "primitives_queue_waiting_messages",
            "Messages that wait to be delivered.",
            ("queue",),
            [((name,), depth.waiting) for name, depth in depths],
        )
        yield self._gauges(
            "primitives_queue_parked_messages",
            "Messages that were set aside.",
            ("queue",),
            [((name,), depth.parked) for name, depth in depths],
        )
        yield self._gauges(
            "primitives_dependency_up",
            "Whether records, store or broker answer: 1 or 0.",
            ("dependency",),
            [((probe.name,), float(probe.reachable)) for probe in self._probes],
        )
        yield self._gauges("primitives_build_info", "The version that runs.", ("version",), [((__version__,), 1)])

    def _gauges(
        self, name: str, told: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], float]]
    ) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, told, labels=["service", *labels])
        for values, value in samples:
            family.add_metric([self.service, *values], value)
        return family

    def _recorded(self) -> tuple[list[TaskStatus], Lag | None]:
        """What the records say; nothing while they do not answer, which must hold up nobody who asks."""
        if not self._probes[0].reachable:
            return [], None
        try:
            with self._ports.records.reading() as session:
                tasks = [_tasks(session, kind, table) for kind, table in self._tables.items()]
            return tasks, self._ports.outbox.lag()
        except Unavailable as error:
            log.info("records not read", reason=str(error))
            return [], None

    def _seen(self) -> list[tuple[str, Depth]]:
        """The depths of the queues, unless the broker is away: they are of before."""
        return sorted(self._depths.items()) if self._probes[-1].reachable else []

    def _ask_records(self) -> None:
        with self._ports.records.reading() as session:
            session.execute(select(1))

    def _ask_store(self) -> None:
        self._ports.blobs.stat(self.service.replace("_", "-"), NO_OBJECT)

    def _ask_broker(self) -> None:
        self._depths = {name: self._ports.bus.depth(name) for name in self._queues}


class _Probe:
    """Asks one dependency again and again, in a thread of its own: one that hangs holds up no other."""

    def __init__(self, name: str, ask: Callable[[], None]) -> None:
        self.name = name
        self.told = "not asked yet"
        self._ask = ask
        self._answered: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"probe:{name}", daemon=True)

    @property
    def reachable(self) -> bool:
        """Whether it answered when last asked, which is not long ago."""
        return not self.told and self._answered is not None and time.monotonic() - self._answered < SILENCE_S

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(INTERVAL_S)

    def look(self) -> None:
        """Ask once."""
        try:
            self._ask()
        except PrimitivesError as error:
            self.told = str(error)
        except Exception as error:  # whatever a dependency makes of it, it is away, and is asked again
            self.told = type(error).__name__
            log.exception("dependency cannot be asked", dependency=self.name)
        else:
            self.told, self._answered = "", time.monotonic()


def add_status_routes(app: FastAPI, monitor: Monitor) -> None:
    """Have an application tell what its service's monitor sees."""
    app.state.registry.register(monitor)

    @app.get("/v1/status", tags=["health"])
    def get_status() -> ServiceStatus:
        """What this process has to do, what waits, whether records, store and broker answer, and its last error."""
        return monitor.status()


def _tasks(session: Session, kind: str, table: type[Any]) -> TaskStatus:
    counts = select(table.state, func.count()).group_by(table.state)
    found = {row[0]: row[1] for row in session.execute(counts)}
    oldest = session.scalar(select(func.min(table.created)).where(table.state == "queued"))
    return TaskStatus(
        kind=kind,
        states={state: found.get(state, 0) for state in STATES},
        oldest_queued_s=(now() - oldest).total_seconds() if oldest is not None else 0.0,
    )
