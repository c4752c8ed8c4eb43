"""The status that a service reports."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from google.protobuf import struct_pb2
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services import __version__
from services.common.bus import Envelope
from services.common.errors import Unavailable
from services.common.http.app import create_app
from services.common.records import WorkColumns, idempotency_keys_table, leases_table, now, outbox_table
from services.common.runtime import status as monitor
from services.common.runtime.status import DependencyStatus, Monitor, add_status_routes
from tests.fakes.ports import World

LIMIT_S = 10.0
QUEUE = "training.jobs"


class Base(DeclarativeBase):
    pass


outbox_table(Base.metadata)
leases_table(Base.metadata)
idempotency_keys_table(Base.metadata)


class Row(WorkColumns, Base):
    __tablename__ = "rows"

    key: Mapped[str] = mapped_column(String(20), primary_key=True)


class Watched:
    """A service with three tasks and a queue, its monitor and a client of its HTTP side."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder, Base.metadata)
        self.bus = self.world.bus
        self.bus.declare(QUEUE, [])
        with self.world.ports.records.transaction() as session:
            hour = timedelta(hours=1)
            session.add(Row(key="a", state="queued", created=now() - 2 * hour))
            session.add(Row(key="b", state="queued", created=now() - hour))
            session.add(Row(key="c", state="failed", created=now() - 9 * hour))
        self.monitor = Monitor("training", self.world.ports, {"run": Row}, [QUEUE])
        self.app = create_app("training", lambda: True)
        add_status_routes(self.app, self.monitor)
        self.client = TestClient(self.app)

    def probe(self) -> None:
        """Probe every dependency once."""
        for probe in self.monitor._probes:
            probe.probe()

    def gauge(self, name: str, **labels: str) -> float | None:
        """Return a sample as Prometheus receives it."""
        value: float | None = self.app.state.registry.get_sample_value(name, {"service": "training"} | labels)
        return value


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_tasks_queues_and_outbox_are_reported(watched: Watched) -> None:
    """People and Prometheus receive the same figures."""
    watched.bus.park(QUEUE, Envelope("x", "{}"), "no such thing")
    with watched.world.ports.records.transaction() as session:
        watched.world.ports.outbox.publish(session, struct_pb2.Value(number_value=1))
    watched.probe()
    status = watched.client.get("/v1/status").json()
    [run] = status["tasks"]
    assert run["states"] == {"queued": 2, "running": 0, "paused": 0, "completed": 0, "failed": 1, "cancelled": 0}
    assert run["oldest_queued_s"] == pytest.approx(7200, abs=60)
    assert status["queues"] == [{"name": QUEUE, "waiting": 0, "parked": 1}]
    assert status["outbox"]["messages"] == 1 and 0 <= status["outbox"]["oldest_s"] < 60
    assert (status["service"], status["version"]) == ("training", __version__)
    assert {one["name"]: one["reachable"] for one in status["dependencies"]} == dict.fromkeys(
        ("records", "store", "broker"), True
    )
    assert watched.gauge("primitives_tasks", kind="run", state="queued") == 2
    assert watched.gauge("primitives_tasks", kind="run", state="running") == 0
    oldest = watched.gauge("primitives_oldest_queued_task_age_seconds", kind="run")
    assert oldest == pytest.approx(7200, abs=60)
    assert watched.gauge("primitives_outbox_messages") == 1
    assert watched.gauge("primitives_queue_parked_messages", queue=QUEUE) == 1
    assert watched.gauge("primitives_queue_waiting_messages", queue=QUEUE) == 0
    assert watched.gauge("primitives_dependency_up", dependency="store") == 1
    assert watched.gauge("primitives_build_info", version=__version__) == 1
    assert "primitives_tasks{" in watched.client.get("/metrics").text


def test_ages_are_zero_when_nothing_waits(watched: Watched) -> None:
    """The age of the oldest queued task, and of the oldest message in the outbox, is 0 if there is none."""
    with watched.world.ports.records.transaction() as session:
        for key in ("a", "b"):
            session.get_one(Row, key).end("completed")
    watched.probe()
    assert watched.gauge("primitives_oldest_queued_task_age_seconds", kind="run") == 0
    assert watched.gauge("primitives_outbox_oldest_age_seconds") == 0


def test_an_unreachable_broker_has_a_reason_and_no_depths(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The depths of its queues are out of date, so they are left out; everything else is reported."""
    watched.probe()

    def refuse(_queue: str) -> None:
        raise Unavailable("amqp://user:hidden@broker does not answer")

    monkeypatch.setattr(watched.bus, "depth", refuse)
    watched.probe()
    status = watched.client.get("/v1/status").json()
    assert status["queues"] == [] and status["tasks"] != []
    [broker] = [one for one in status["dependencies"] if not one["reachable"]]
    assert broker["name"] == "broker" and "does not answer" in broker["reason"] and "hidden" not in broker["reason"]
    assert broker["told"] == broker["reason"]  # its name in earlier versions
    assert watched.gauge("primitives_dependency_up", dependency="broker") == 0
    assert watched.gauge("primitives_queue_parked_messages", queue=QUEUE) is None


def test_unreachable_records_do_not_delay_the_status(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status has no tasks before the records have answered, and when they stop answering."""
    assert watched.client.get("/v1/status").json()["tasks"] == []
    watched.probe()

    def refuse() -> None:
        raise Unavailable("the records do not answer")

    monkeypatch.setattr(watched.world.ports.records, "reading", refuse)
    status = watched.client.get("/v1/status").json()
    assert (status["tasks"], status["outbox"]) == ([], None)
    watched.probe()
    assert watched.gauge("primitives_dependency_up", dependency="records") == 0


def test_a_dependency_that_hangs_counts_as_unreachable(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is unreachable once it has been silent for longer than SILENCE_S."""
    clock = [0.0]
    monkeypatch.setattr(monitor.time, "monotonic", lambda: clock[0])
    watched.probe()
    clock[0] = monitor.SILENCE_S - 1
    assert watched.gauge("primitives_dependency_up", dependency="store") == 1
    clock[0] = monitor.SILENCE_S + 1
    assert watched.gauge("primitives_dependency_up", dependency="store") == 0


def test_a_monitor_probes_from_start_to_stop(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """It probes at intervals, in threads of its own; a defect in a probe is reported and does not end them."""
    monkeypatch.setattr(monitor, "INTERVAL_S", 0.01)
    probes, enough = [0], threading.Event()

    def depth(_queue: str) -> None:
        probes[0] += 1
        if probes[0] == 3:
            enough.set()
        raise ZeroDivisionError

    monkeypatch.setattr(watched.bus, "depth", depth)
    watched.monitor.start()
    assert enough.wait(LIMIT_S)
    watched.monitor.stop()
    for probe in watched.monitor._probes:
        probe._thread.join(LIMIT_S)
        assert not probe._thread.is_alive()
    assert watched.monitor.status().dependencies[-1].reason == "ZeroDivisionError"


def test_the_status_of_an_earlier_version_is_read() -> None:
    """While a cluster is updated, some services still write `told` instead of `reason`."""
    content = {"name": "broker", "reachable": False, "told": "away"}
    assert DependencyStatus.model_validate(content) == DependencyStatus(name="broker", reachable=False, reason="away")
