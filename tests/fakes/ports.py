"""The ports of a service in their embedded forms. Tests take the messages by hand; no thread delivers them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.protobuf import message
from sqlalchemy import MetaData

from services.common.blobs import FolderBlobs
from services.common.bus import Envelope, MemoryBus, decode
from services.common.errors import JobStopped
from services.common.records import Leases, Outbox, open_records
from services.common.work.jobs import JobFunction, JobReport, Order
from services.common.work.ports import Ports
from services.common.work.runner import STOP_S


class RecordingBus(MemoryBus):
    """A bus that records every message in `sent`, as (queue or "", message)."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, message.Message]] = []

    def publish(self, envelope: Envelope) -> None:
        """Record an event."""
        self.sent.append(("", decode(envelope)))

    def send(self, queue: str, envelope: Envelope) -> None:
        """Record a command."""
        self.sent.append((queue, decode(envelope)))


class World:
    """Ports over a folder, and the messages that a workflow has sent."""

    def __init__(self, folder: Path, metadata: MetaData) -> None:
        self.bus = RecordingBus()
        self.blobs = FolderBlobs(folder / "blobs")
        records = open_records(f"sqlite:///{folder / 'records.sqlite'}")
        metadata.create_all(records.engine)
        tables = metadata.tables
        outbox = Outbox(records, tables["outbox"], self.bus)
        self.ports = Ports(self.bus, self.blobs, records, outbox, Leases(records, tables["leases"]))

    def sent(self) -> list[message.Message]:
        """Return the messages committed since the last call, in order."""
        self.bus.sent.clear()
        self.ports.outbox.flush()
        return [content for _, content in self.bus.sent]


class FakeRunner:
    """A stand-in for the child process: it answers each job function, by name, with what the test sets."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[Any], Any]] = {}
        self.calls: list[tuple[str, Any]] = []

    def run(
        self,
        job: JobFunction[Any, Any, Any],
        spec: Any,
        on_report: Callable[[JobReport], None] = lambda _: None,
        order: Callable[[], Order] = lambda: Order.WORK,
        on_milestone: Callable[[Any], None] = lambda _: None,
        pause_s: float = STOP_S,
    ) -> Any:
        """Call the test's function with the spec. It returns a result, or milestones and a result, or raises."""
        self.calls.append((job.name, spec))
        if order() is not Order.WORK:
            raise JobStopped("the job stopped on request")
        answer = self.answers[job.name](spec)
        if isinstance(answer, tuple):
            for milestone in answer[0]:
                on_milestone(milestone)
            answer = answer[1]
        return answer
