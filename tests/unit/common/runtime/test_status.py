"""What a service says of itself."""

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
from services.common.records import WorkColumns, leases_table, now, outbox_table
from services.common.runtime import status as monitor
from services.common.runtime.status import Monitor, add_status_routes
from tests.fakes.ports import World

LIMIT_S = 10.0
QUEUE = "training.jobs"


class Base(DeclarativeBase):
    pass


outbox_table(Base.metadata)
leases_table(Base.metadata)


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

    def look(self) -> None:
        """Ask every dependency once."""
        for probe in self.monitor._probes:
            probe.look()

    def gauge(self, name: str, **labels: str) -> float | None:
        """A sample as Prometheus gets it."""
        told = {"service": "training"} | labels
        value: float | None = self.app.state.registry.get_sample_value(name, told)
        return value


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_tasks_queues_and_outbox_are_told(watched: Watched) -> None:
    """To people and to Prometheus alike."""
    watched.bus.park(QUEUE, Envelope("x", "{}"), "no such thing")
    with watched.world.ports.records.transaction() as session:
        watched.world.ports.outbox.publish(session, struct_pb2.Value(number_value=1))
    watched.look()
    told = watched.client.get("/v1/status").json()
    [run] = told["tasks"]
    assert run["states"] == {"queued": 2, "running": 0, "paused": 0, "completed": 0, "failed": 1, "cancelled": 0}
    assert run["oldest_queued_s"] == pytest.approx(7200, abs=60)
    assert told["queues"] == [{"name": QUEUE, "waiting": 0, "parked": 1}]
    assert told["outbox"]["messages"] == 1 and 0 <= told["outbox"]["oldest_s"] < 60
    assert (told["service"], told["version"]) == ("training", __version__)
    assert {one["name"]: one["reachable"] for one in told["dependencies"]} == dict.fromkeys(
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


def test_nothing_queued_is_no_age(watched: Watched) -> None:
    """The oldest age of none is 0, and a lag of nothing too."""
    with watched.world.ports.records.transaction() as session:
        for key in ("a", "b"):
            session.get_one(Row, key).end("completed")
    watched.look()
    assert watched.gauge("primitives_oldest_queued_task_age_seconds", kind="run") == 0
    assert watched.gauge("primitives_outbox_oldest_age_seconds") == 0


def test_what_is_away_is_named_and_nothing_is_made_up(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is away has no depths, however full its queues were; the rest is told, and why."""
    watched.look()

    def refuse(_queue: str) -> None:
        raise Unavailable("amqp://user:hidden@broker does not answer")

    monkeypatch.setattr(watched.bus, "depth", refuse)
    watched.look()
    told = watched.client.get("/v1/status").json()
    assert told["queues"] == [] and told["tasks"] != []
    [broker] = [one for one in told["dependencies"] if not one["reachable"]]
    assert broker["name"] == "broker" and "does not answer" in broker["told"] and "hidden" not in broker["told"]
    assert watched.gauge("primitives_dependency_up", dependency="broker") == 0
    assert watched.gauge("primitives_queue_parked_messages", queue=QUEUE) is None


def test_records_that_are_away_hold_up_nobody(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they have answered, and when they fail to meanwhile, there are no tasks; the answer comes all the same."""
    assert watched.client.get("/v1/status").json()["tasks"] == []
    watched.look()

    def refuse() -> None:
        raise Unavailable("the records do not answer")

    monkeypatch.setattr(watched.world.ports.records, "reading", refuse)
    told = watched.client.get("/v1/status").json()
    assert (told["tasks"], told["outbox"]) == ([], None)
    watched.look()
    assert watched.gauge("primitives_dependency_up", dependency="records") == 0


def test_a_dependency_that_hangs_counts_as_away(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has been silent for longer than SILENCE_S is away, and holds up no other."""
    clock = [0.0]
    monkeypatch.setattr(monitor.time, "monotonic", lambda: clock[0])
    watched.look()
    clock[0] = monitor.SILENCE_S - 1
    assert watched.gauge("primitives_dependency_up", dependency="store") == 1
    clock[0] = monitor.SILENCE_S + 1
    assert watched.gauge("primitives_dependency_up", dependency="store") == 0


def test_a_monitor_looks_again_and_again(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its start to its stop, in threads of its own; a defect in a look is seen and ends nothing."""
    monkeypatch.setattr(monitor, "INTERVAL_S", 0.01)
    asked, enough = [0], threading.Event()

    def depth(_queue: str) -> None:
        asked[0] += 1
        if asked[0] == 3:
            enough.set()
        raise ZeroDivisionError

    monkeypatch.setattr(watched.bus, "depth", depth)
    watched.monitor.start()
    assert enough.wait(LIMIT_S)
    watched.monitor.stop()
    for probe in watched.monitor._probes:
        probe._thread.join(LIMIT_S)
        assert not probe._thread.is_alive()
    assert watched.monitor.status().dependencies[-1].told == "ZeroDivisionError"
