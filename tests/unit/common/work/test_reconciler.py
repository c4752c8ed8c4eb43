"""Unfinished work whose message is gone is found by its record."""

from pathlib import Path

import pytest

from services.common.bus import Envelope, MemoryBus
from services.common.errors import Busy
from services.common.records import Leases, Outbox, open_records
from services.common.work.ports import Ports
from services.common.work.reconciler import LEASE, Reconciler
from tests.fakes.ports import FakeRunner
from tests.unit.common.work.test_tasks import Base, Cut, CutRow, PartRow, Simple, SimpleRow

QUEUE = "jobs"


class Example:
    """Two kinds of tasks over a bus in memory whose messages nobody takes."""

    def __init__(self, folder: Path) -> None:
        self.bus = MemoryBus()
        self.bus.declare(QUEUE, [])
        self.records = open_records(f"sqlite:///{folder / 'records.sqlite'}")
        Base.metadata.create_all(self.records.engine)
        tables = Base.metadata.tables
        self.leases = Leases(self.records, tables["leases"])
        outbox = Outbox(self.records, tables["outbox"], self.bus)
        self.ports = Ports(self.bus, None, self.records, outbox, self.leases)  # type: ignore[arg-type]
        runner = FakeRunner()
        kinds = [Simple(self.ports, runner), Cut(self.ports, runner)]  # type: ignore[arg-type]
        self.reconciler = Reconciler(self.ports, kinds, [QUEUE], 60.0)

    def add(self, *rows: object) -> None:
        """Add rows without their messages."""
        with self.records.transaction() as session:
            session.add_all(rows)

    def waiting(self) -> int:
        """Return how many messages wait, after the outbox was sent."""
        self.ports.outbox.flush()
        return self.bus.depth(QUEUE).waiting


@pytest.fixture
def example(tmp_path: Path) -> Example:
    return Example(tmp_path)


def test_a_task_without_a_message_is_enqueued_again(example: Example) -> None:
    """A queued and a running task that are unattended in two searches are enqueued, and those of a fan-out with the
    missing parts only. Ended and paused tasks are not."""
    states = ("queued", "running", "paused", "completed", "failed", "cancelled")
    example.add(*[SimpleRow(evaluation_id=state, state=state) for state in states])
    example.add(CutRow(extraction_id="cut", parts=3), PartRow(extraction_id="cut", part=1))
    assert example.reconciler.search() == set()
    assert example.reconciler.search() == {"queued", "running", "cut"}
    assert example.waiting() == 4


def test_work_is_enqueued_once(example: Example) -> None:
    """After work was enqueued again its message waits, so later searches do nothing."""
    example.add(SimpleRow(evaluation_id="lost"))
    found = [example.reconciler.search() for _ in range(2)]
    assert example.waiting() == 1
    found += [example.reconciler.search() for _ in range(3)]
    assert found == [set(), {"lost"}, set(), set(), set()]
    assert example.waiting() == 1


def test_work_that_a_process_performs_is_left_alone(example: Example) -> None:
    """A task, or a part of one, whose lease is held is attended."""
    example.add(SimpleRow(evaluation_id="busy"), CutRow(extraction_id="cut", parts=3))
    with example.leases.hold("busy"), example.leases.hold("cut/2"):
        assert [example.reconciler.search() for _ in range(3)] == [set()] * 3
    assert [example.reconciler.search() for _ in range(2)] == [set(), {"busy", "cut"}]


def test_nothing_is_enqueued_while_messages_wait(example: Example) -> None:
    """A message in a queue may be that of the task: the two searches begin again after it."""
    example.add(SimpleRow(evaluation_id="lost"))
    assert example.reconciler.search() == set()
    example.bus.send(QUEUE, Envelope("any.Type", "{}"))
    assert [example.reconciler.search() for _ in range(3)] == [set()] * 3
    example.bus.close()


def test_one_process_searches_at_a_time(example: Example) -> None:
    """Replicas share the lease of the search."""
    with example.leases.hold(LEASE), pytest.raises(Busy):
        example.reconciler.search()
