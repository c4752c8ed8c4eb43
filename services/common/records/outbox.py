"""The outbox: a message is committed together with the change that it reports, and sent afterwards, at least once."""

import threading
from dataclasses import replace
from typing import Any, NamedTuple

from google.protobuf import message
from opentelemetry.trace import SpanKind
from sqlalchemy import Column, Integer, MetaData, Row, String, Table, Text, delete, event, func, insert, select
from sqlalchemy.orm import Session

from services.common.bus import Bus, Envelope, encode, ids_of
from services.common.errors import Unavailable
from services.common.observability.logs import get_logger, log_scope
from services.common.observability.tracing import span, traceparent
from services.common.records.database import Records
from services.common.records.types import UtcTime, now

log = get_logger(__name__)

RELAY_INTERVAL_S = 1.0


def outbox_table(metadata: MetaData) -> Table:
    """Define the table of outgoing messages, which every service has.

    `queue` is null for an event. `created` is null for a message of an earlier version of the code.
    """
    return Table(
        "outbox",
        metadata,
        Column("position", Integer, primary_key=True, autoincrement=True),
        Column("message_id", String(64), nullable=False, unique=True),
        Column("type", String(200), nullable=False),
        Column("body", Text, nullable=False),
        Column("queue", String(200)),
        Column("traceparent", String(64), nullable=False, server_default=""),
        Column("created", UtcTime, default=now),
    )


class Lag(NamedTuple):
    """The number of committed messages that are not sent yet, and the age of the oldest in seconds."""

    messages: int
    oldest_s: float


class Outbox:
    """Writes messages into the sender's transaction, and relays committed messages to the bus in order."""

    def __init__(self, records: Records, table: Table, bus: Bus, service: str = "") -> None:
        self._records = records
        self._service = service
        self._table = table
        self._bus = bus
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._relay, name="outbox", daemon=True)

    def publish(self, session: Session, content: message.Message) -> None:
        """Publish an event once the transaction is committed."""
        self._add(session, encode(content), None)

    def send(self, session: Session, queue: str, content: message.Message) -> None:
        """Send a command to one queue once the transaction is committed."""
        self._add(session, encode(content), queue)

    def start(self) -> None:
        """Begin to relay, first the messages that an earlier process left."""
        self._thread.start()

    def stop(self) -> None:
        """Stop relaying. Unsent messages stay for the next start."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether committed messages are being relayed."""
        return self._thread.is_alive()

    def lag(self) -> Lag:
        """Return how far the bus is behind the records."""
        with self._records.reading() as session:
            count, oldest = session.execute(select(func.count(), func.min(self._table.c.created))).one()
        return Lag(count, (now() - oldest).total_seconds() if oldest is not None else 0.0)

    def flush(self) -> int:
        """Send all committed messages, oldest first, and return their number. The first error of the bus ends it
        (Unavailable, or NotFound for a queue that does not exist); that message and the later ones stay."""
        count = 0
        while not self._stopping and self._send_oldest():
            count += 1
        return count

    def _send_oldest(self) -> bool:
        """Send the oldest message that no other process is sending. Return False if there is none.

        Where replicas share the records, the row is locked until it is deleted, and other replicas skip it; otherwise
        each would send all messages of a burst. In a file the row is not locked: writers would wait for the broker.
        """
        oldest = select(self._table).order_by(self._table.c.position).limit(1)
        if self._records.shared:
            with self._records.transaction() as session:
                row = session.execute(oldest.with_for_update(skip_locked=True)).one_or_none()
                if row is not None:
                    self._relay_row(row)
                    self._delete(session, row)
            return row is not None
        with self._records.reading() as session:
            row = session.execute(oldest).one_or_none()
        if row is not None:
            self._relay_row(row)
            with self._records.transaction() as session:
                self._delete(session, row)
        return row is not None

    def _relay_row(self, row: Row[Any]) -> None:
        envelope = Envelope(type=row.type, body=row.body, id=row.message_id)
        with (
            log_scope(**ids_of(envelope)),
            span(f"publish {envelope.kind}", self._service, SpanKind.PRODUCER, row.traceparent, message=envelope.id),
        ):
            envelope = replace(envelope, traceparent=traceparent())
            if row.queue is None:
                self._bus.publish(envelope)
            else:
                self._bus.send(row.queue, envelope)

    def _delete(self, session: Session, row: Row[Any]) -> None:
        session.execute(delete(self._table).where(self._table.c.position == row.position))

    def _add(self, session: Session, envelope: Envelope, queue: str | None) -> None:
        row = {"message_id": envelope.id, "type": envelope.type, "body": envelope.body, "queue": queue}
        session.execute(insert(self._table).values(row | {"traceparent": traceparent()}))
        event.listen(session, "after_commit", lambda _: self._wake.set(), once=True)

    def _relay(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                self.flush()
            except Unavailable as error:
                log.warning("outbox waits", reason=str(error))
            except Exception:  # after any error the messages stay and the thread continues
                log.exception("outbox cannot send")
            self._wake.wait(RELAY_INTERVAL_S)
