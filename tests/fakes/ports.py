"""The ports of a service on the shipped embedded forms, with messages taken by hand instead of by threads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.protobuf import message
from sqlalchemy import MetaData, Table

from services.common.blobs import FolderBlobs
from services.common.bus import Envelope, MemoryBus, decode
from services.common.errors import JobStopped
from services.common.records import Leases, Outbox, open_records
from services.common.work.jobs import LEAVE_S, Order
from services.common.work.ports import Ports


class RecordingBus(MemoryBus):
    """A bus that keeps all that goes over it in `sent`, as (queue or "", message)."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, message.Message]] = []

    def publish(self, envelope: Envelope) -> None:
        """Keep an event."""
        self.sent.append(("", decode(envelope)))

    def send(self, queue: str, envelope: Envelope) -> None:
        """Keep a command."""
        self.sent.append((queue, decode(envelope)))


class World:
    """Ports over a folder, and what a workflow has sent."""

    def __init__(self, folder: Path, metadata: MetaData, _outbox: Table | None = None) -> None:
        self.bus = RecordingBus()
        self.blobs = FolderBlobs(folder / "blobs")
        records = open_records(f"sqlite:///{folder / 'records.sqlite'}")
        metadata.create_all(records.engine)
        tables = metadata.tables
        outbox = Outbox(records, tables["outbox"], self.bus)
        self.ports = Ports(self.bus, self.blobs, records, outbox, Leases(records, tables["leases"]))

    def sent(self) -> list[message.Message]:
        """The messages committed since the last call, in order."""
        self.bus.sent.clear()
        self.ports.outbox.flush()
        return [content for _, content in self.bus.sent]


class FakeRunner:
    """Stands in for the child process: answers each function by name with what the test says."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[dict[str, Any]], Any]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def run(
        self,
        target: str,
        arguments: dict[str, Any],
        on_progress: Callable[[dict[str, Any]], None],
        order: Callable[[], Order] = lambda: Order.WORK,
        on_milestone: Callable[[dict[str, Any]], None] = lambda _: None,
        pause_s: float = LEAVE_S,
    ) -> Any:
        """Call the test's function; it may return a result, or raise; `milestones` in its result are handed over."""
        function = target.partition(":")[2]
        self.calls.append((function, arguments))
        if order() is not Order.WORK:
            raise JobStopped("the job left as it was told to")
        answer = self.answers[function](arguments)
        if isinstance(answer, tuple):
            for facts in answer[0]:
                on_milestone(facts)
            answer = answer[1]
        return answer
