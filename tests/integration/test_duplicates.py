"""Two replicas of a service that work on the same thing at the same moment, over PostgreSQL, whose writers do not wait
for each other."""

import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest
from primitives.activation_extraction.v1 import events_pb2 as extraction_events
from primitives.common.v1 import object_pb2, plan_pb2
from primitives.training.v1 import events_pb2
from sqlalchemy import Table, event

from deploy.local.servers import Server
from services.activation_extraction.analyses.workflow import Analyses
from services.activation_extraction.consumer import create_consumers
from services.activation_extraction.explanations.workflow import Explanations
from services.activation_extraction.settings import ExtractionSettings
from services.activation_extraction.tables import Base
from services.activation_extraction.workflow.extractions import Extractions
from services.activation_extraction.workflow.queries import Queries
from services.cli.migrations import migrations_of
from services.common.blobs import Blobs, FolderBlobs
from services.common.bus import Envelope, MemoryBus, encode
from services.common.grpc import to_message
from services.common.records import Leases, Outbox, Records, migrate, open_records
from services.common.work.ports import Ports
from services.training.schemas import StartPlanRequest
from services.training.settings import TrainingSettings
from services.training.tables import Base as TrainingBase
from services.training.workflow.datasets import Datasets
from services.training.workflow.plans import Plans
from services.training.workflow.runs import Runs
from tests.fakes.data import store_checkpoint, store_dataset
from tests.fakes.ports import FakeRunner
from tests.servers import fresh_schema

LIMIT_S = 30.0
EVENTS = "activation_extraction.events"


@pytest.fixture
def records(postgres: Server) -> Iterator[Records]:
    """The tables of the extraction service."""
    yield from migrated(postgres, "activation_extraction")


@pytest.fixture
def training_records(postgres: Server) -> Iterator[Records]:
    """The tables of the training service."""
    yield from migrated(postgres, "training")


def migrated(postgres: Server, service: str) -> Iterator[Records]:
    """Open empty, migrated records of a service."""
    records = open_records(fresh_schema(postgres))
    migrate(records, migrations_of(service))
    yield records
    records.close()


def ports_over(records: Records, tables: Mapping[str, Table], bus: MemoryBus, folder: Path) -> Ports:
    """Return the ports of a replica, with the outbox and leases in `tables`."""
    outbox, leases = Outbox(records, tables["outbox"], bus), Leases(records, tables["leases"])
    return Ports(bus, FolderBlobs(folder / "blobs"), records, outbox, leases)


def meet_before(records: Records, statement: str) -> None:
    """Make the first two threads that are about to execute a statement wait for each other."""
    meeting = threading.Barrier(2)
    left = [2]

    @event.listens_for(records.engine, "before_cursor_execute")
    def wait(_connection: Any, _cursor: Any, executed: str, *_: Any) -> None:
        if executed.startswith(statement) and left[0] > 0:
            left[0] -= 1
            meeting.wait(LIMIT_S)


class Counted(Extractions):
    """Records each event that it has handled, with or without success."""

    def run_completed(self, event: events_pb2.RunCompleted) -> None:
        super().run_completed(event)
        self.done.release()

    def plan_failed(self, event: events_pb2.RunCompleted, reason: str) -> None:
        super().plan_failed(event, reason)
        self.done.release()

    done: ClassVar[threading.Semaphore]


def completed(blobs: Blobs, folder: Path) -> events_pb2.RunCompleted:
    """Return the event that the run of plan-1 has completed."""
    data, dataset = store_dataset(blobs, folder / "ddsm", {"train": 3, "val": 9})
    checkpoint, _ = store_checkpoint(blobs, data.manifest, "test_resnet", 64)
    return events_pb2.RunCompleted(
        run_id="run-1",
        dataset=to_message(dataset, object_pb2.ObjectRef),
        checkpoint=to_message(checkpoint, object_pb2.ObjectRef),
        plan=plan_pb2.Plan(
            plan_id="plan-1", extraction=plan_pb2.PlanExtraction(split="val", layers=["layer4"], top_k=4, batch_size=2)
        ),
    )


class Meeting(MemoryBus):
    """A bus that has sent the first message only when a second one follows."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[str] = []
        self.begun, self.second = threading.Event(), threading.Event()

    def send(self, queue: str, envelope: Envelope) -> None:
        self.bodies.append(envelope.body)
        if self.begun.is_set():
            self.second.set()
        self.begun.set()
        assert self.second.wait(LIMIT_S)


def test_replicas_do_not_send_each_others_messages(records: Records) -> None:
    """While one process sends a message, another process with the same outbox sends the next one."""
    bus = Meeting()
    first, second = (Outbox(records, Base.metadata.tables["outbox"], bus) for _ in range(2))
    with records.transaction() as session:
        for shard in range(2):
            first.send(session, "work", extraction_events.ExtractShard(extraction_id="e", shard=shard))
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(first.flush)
        assert bus.begun.wait(LIMIT_S)
        assert (second.flush(), sent.result(LIMIT_S)) == (1, 1)
    assert [json.loads(body).get("shard", 0) for body in bus.bodies] == [0, 1]
    assert first.flush() == 0


@pytest.mark.parametrize("table", ["networks", "extractions"])
def test_an_event_handled_twice_at_once_begins_one_extraction(records: Records, tmp_path: Path, table: str) -> None:
    """The second process to record the extraction reads again and finds it. The plan continues, and nothing is
    parked."""
    meet_before(records, f"INSERT INTO {table}")
    bus = MemoryBus()
    ports = ports_over(records, Base.metadata.tables, bus, tmp_path)
    Counted.done = threading.Semaphore(0)
    extractions = Counted(ports, FakeRunner(), ExtractionSettings())  # type: ignore[arg-type]
    analyses = Analyses(ports, FakeRunner(), ExtractionSettings())  # type: ignore[arg-type]
    explanations = Explanations(ports, FakeRunner(), ExtractionSettings())  # type: ignore[arg-type]
    for _ in range(2):
        replica = create_consumers(bus, extractions, analyses, explanations, max_attempts=5).events
        replica.start()
    event = completed(ports.blobs, tmp_path)
    bus.publish(encode(event))
    bus.publish(encode(event))
    assert all(extractions.done.acquire(timeout=LIMIT_S) for _ in range(2))
    bus.drain()
    [stage] = Queries(ports).plan("plan-1").stages
    assert (stage.state, stage.error) == ("queued", "")
    assert bus.parked(EVENTS) == []
    assert ports.outbox.flush() == 1, "one shard, requested once"
    bus.close()


def test_a_plan_that_is_started_twice_at_once_is_answered_twice(training_records: Records, tmp_path: Path) -> None:
    """Two calls with the same plan_id at two replicas start one plan, and both are answered with it."""
    meet_before(training_records, "INSERT INTO builds")
    ports = ports_over(training_records, TrainingBase.metadata.tables, MemoryBus(), tmp_path)
    runner: Any = FakeRunner()
    plans = Plans(ports, Datasets(ports, runner), Runs(ports, runner, TrainingSettings()))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(plans.start, [StartPlanRequest(plan_id="plan-1")] * 2)
    assert first == second
    assert [stage.state for stage in first.stages] == ["queued"]
