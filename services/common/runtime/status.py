"""The status of a running service: its tasks, queues and outbox, and whether its records, store and broker answer.

Prometheus reads it at /metrics, people at /v1/status.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fastapi import Depends, FastAPI
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from pydantic import AliasChoices, BaseModel, Field, computed_field
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
"""Seconds between two probes of a dependency."""
SILENCE_S = 20.0
"""Seconds without an answer after which a dependency counts as unreachable, however long its own time-outs are."""
NO_OBJECT = "status"
"""A key that no object has: the store is probed with it."""

GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "primitives_tasks": (
        "Tasks in the records, by state. Replicas of a service share their records, so each reports the same number.",
        ("kind", "state"),
    ),
    "primitives_oldest_queued_task_age_seconds": (
        "Seconds since the oldest queued task was requested; 0 if none is queued.",
        ("kind",),
    ),
    "primitives_outbox_messages": ("Committed messages that are not sent yet.", ()),
    "primitives_outbox_oldest_age_seconds": ("Age of the oldest of them; 0 if there is none.", ()),
    "primitives_queue_waiting_messages": ("Messages that wait for delivery.", ("queue",)),
    "primitives_queue_parked_messages": ("Messages that were parked.", ("queue",)),
    "primitives_dependency_up": ("Whether records, store or broker answer: 1 or 0.", ("dependency",)),
    "primitives_build_info": ("The version that runs.", ("version",)),
}
"""The description and the labels of each gauge; every gauge also has the label `service`."""


class TaskStatus(BaseModel):
    """The number of tasks of a kind by state, and the seconds since the oldest queued one was requested."""

    kind: str
    states: dict[str, int]
    oldest_queued_s: float


class QueueStatus(BaseModel):
    """The messages of a queue that wait, and those that were parked for a person to look at."""

    name: str
    waiting: int
    parked: int


class OutboxStatus(BaseModel):
    """The number of committed messages that are not sent yet, and the age of the oldest, in seconds."""

    messages: int
    oldest_s: float


class WithReason(BaseModel):
    """A status with a reason, which earlier versions read and write as `told`."""

    reason: str = Field(validation_alias=AliasChoices("reason", "told"))

    @computed_field(json_schema_extra={"deprecated": True})  # type: ignore[prop-decorator]
    @property
    def told(self) -> str:
        """The earlier name of `reason`, until v2."""
        return self.reason


class DependencyStatus(WithReason):
    """Whether records, store or broker answered the last probe; `reason` says why not, and is empty if they did."""

    name: str
    reachable: bool


class ErrorStatus(WithReason):
    """The newest error that the process has logged."""

    at: Moment
    event: str


class ServiceStatus(BaseModel):
    """One process of a service. What cannot be read now is left out."""

    service: str
    version: str
    started: Moment
    tasks: list[TaskStatus]
    queues: list[QueueStatus]
    outbox: OutboxStatus | None
    dependencies: list[DependencyStatus]
    last_error: ErrorStatus | None


class Monitor(Collector):
    """Reads the tables of tasks, by kind, and the queues of one service, and probes its dependencies."""

    def __init__(
        self, service: str, ports: Ports, tables: Mapping[str, type[TaskColumns]], queues: Sequence[str]
    ) -> None:
        self.service = service
        self._ports, self._tables, self._queues = ports, tables, queues
        self._started = now()
        self._depths: dict[str, Depth] = {}
        self._probes = [
            _Probe("records", self._probe_records),
            _Probe("store", self._probe_store),
            _Probe("broker", self._probe_broker),
        ]

    def start(self) -> None:
        """Begin to probe."""
        for probe in self._probes:
            probe.start()

    def stop(self) -> None:
        """Stop probing. A probe that hangs ends with the process."""
        for probe in self._probes:
            probe.stop()

    def status(self) -> ServiceStatus:
        """Return the status now, with the depths of queues as of the last probe."""
        tasks, lag = self._read_records()
        error = last_error()
        return ServiceStatus(
            service=self.service,
            version=__version__,
            started=self._started,
            tasks=tasks,
            queues=[QueueStatus(name=name, **depth._asdict()) for name, depth in self._queue_depths()],
            outbox=OutboxStatus(**lag._asdict()) if lag is not None else None,
            dependencies=[
                DependencyStatus(name=probe.name, reachable=probe.reachable, reason=probe.reason)
                for probe in self._probes
            ],
            last_error=ErrorStatus(**error._asdict()) if error is not None else None,
        )

    def collect(self) -> Iterable[Metric]:
        """Yield the same as gauges."""
        tasks, lag = self._read_records()
        depths = self._queue_depths()
        samples: dict[str, list[tuple[tuple[str, ...], float]]] = {
            "primitives_tasks": [((task.kind, state), count) for task in tasks for state, count in task.states.items()],
            "primitives_oldest_queued_task_age_seconds": [((task.kind,), task.oldest_queued_s) for task in tasks],
            "primitives_outbox_messages": [] if lag is None else [((), lag.messages)],
            "primitives_outbox_oldest_age_seconds": [] if lag is None else [((), lag.oldest_s)],
            "primitives_queue_waiting_messages": [((name,), depth.waiting) for name, depth in depths],
            "primitives_queue_parked_messages": [((name,), depth.parked) for name, depth in depths],
            "primitives_dependency_up": [((probe.name,), float(probe.reachable)) for probe in self._probes],
            "primitives_build_info": [((__version__,), 1)],
        }
        for name, (description, labels) in GAUGES.items():
            family = GaugeMetricFamily(name, description, labels=["service", *labels])
            for values, value in samples[name]:
                family.add_metric([self.service, *values], value)
            yield family

    def _read_records(self) -> tuple[list[TaskStatus], Lag | None]:
        """Read tasks and outbox. Return nothing while the records do not answer: that must not delay the caller."""
        if not self._probes[0].reachable:
            return [], None
        try:
            with self._ports.records.reading() as session:
                tasks = [_tasks(session, kind, table) for kind, table in self._tables.items()]
            return tasks, self._ports.outbox.lag()
        except Unavailable as error:
            log.info("records not read", reason=str(error))
            return [], None

    def _queue_depths(self) -> list[tuple[str, Depth]]:
        """Return the depths of the last probe; none if the broker is unreachable, since they are out of date then."""
        return sorted(self._depths.items()) if self._probes[-1].reachable else []

    def _probe_records(self) -> None:
        with self._ports.records.reading() as session:
            session.execute(select(1))

    def _probe_store(self) -> None:
        self._ports.blobs.stat(self.service.replace("_", "-"), NO_OBJECT)

    def _probe_broker(self) -> None:
        self._depths = {name: self._ports.bus.depth(name) for name in self._queues}


class _Probe:
    """Probes one dependency at intervals, in a thread of its own, so that one that hangs does not delay the others."""

    def __init__(self, name: str, call: Callable[[], None]) -> None:
        self.name = name
        self.reason = "not probed yet"
        self._call = call
        self._answered: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"probe:{name}", daemon=True)

    @property
    def reachable(self) -> bool:
        """Whether the last probe succeeded, and not more than SILENCE_S ago."""
        return not self.reason and self._answered is not None and time.monotonic() - self._answered < SILENCE_S

    def start(self) -> None:
        """Begin to probe."""
        self._thread.start()

    def stop(self) -> None:
        """Stop probing."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.probe()
            self._stopping.wait(INTERVAL_S)

    def probe(self) -> None:
        """Probe once."""
        try:
            self._call()
        except PrimitivesError as error:
            self.reason = str(error)
        except Exception as error:  # any failure of a dependency makes it unreachable until the next probe
            self.reason = type(error).__name__
            log.exception("dependency cannot be probed", dependency=self.name)
        else:
            self.reason, self._answered = "", time.monotonic()


def add_status_routes(app: FastAPI, monitor: Monitor, check: Callable[..., None] | None = None) -> None:
    """Add /v1/status, and the gauges of the monitor, to an application. `check` raises Forbidden for calls that may not
    read the status."""
    app.state.registry.register(monitor)

    @app.get("/v1/status", tags=["health"], dependencies=[Depends(check)] if check is not None else [])
    def get_status() -> ServiceStatus:
        """The tasks of this process, what waits, whether records, store and broker answer, and the last error."""
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
