"""A job that takes longer than the broker waits for an acknowledgement."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import struct_pb2
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from deploy.local.servers import Server, start_rabbitmq
from services.common.bus import Consumer, encode
from services.common.bus.amqp import read_envelope
from services.common.bus.messages import decode
from services.common.bus.rabbit import RabbitBus
from services.common.records import Leases, leases_table, open_records
from tests.servers import fresh_schema

CONSUMER_TIMEOUT_S = 3.0
LIMIT_S = 60.0


class Base(DeclarativeBase):
    pass


LEASES = leases_table(Base.metadata)


class Done(Base):
    __tablename__ = "done"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Server]:
    """A broker that closes a channel when a message is not acknowledged within three seconds."""
    server = start_rabbitmq(
        tmp_path / "rabbitmq",
        settings=f"consumer_timeout = {int(CONSUMER_TIMEOUT_S * 1000)}",
        advanced="[{rabbit, [{channel_tick_interval, 500}]}].",
    )
    yield server
    server.stop()


def take(bus: RabbitBus, queue: str) -> struct_pb2.Value | None:
    """Take the next message from a queue; None if it is empty."""
    method, properties, body = bus._publisher.do(lambda channel: channel.basic_get(queue, auto_ack=True))
    return None if method is None else decode(read_envelope(properties, body))


def test_a_job_four_times_as_long_completes_once(impatient: Server, postgres: Server) -> None:
    """The broker closes the channel and delivers the message again, also to a second worker. The job runs once, its
    result is stored once, and at most one copy of the message is left, which finds the job done."""
    records = open_records(fresh_schema(postgres))
    Base.metadata.create_all(records.engine)
    leases = Leases(records, LEASES, ttl_s=2.0)
    runs, handled, ended = [], [], threading.Event()
    never = threading.Event()

    def work(message: struct_pb2.Value) -> None:
        with leases.hold(message.string_value) as lease:
            with records.reading() as session:
                if session.get(Done, message.string_value) is not None:
                    handled.append("done already")
                    ended.set()
                    return
            runs.append(threading.current_thread().name)
            never.wait(4 * CONSUMER_TIMEOUT_S)  # the job itself, so there is no condition to wait for
            with records.transaction() as session:
                lease.check(session)
                session.add(Done(name=message.string_value))

    buses = [RabbitBus([impatient.url]) for _ in range(2)]
    for bus in buses:
        consumer = Consumer(bus, "long.jobs", max_attempts=3)
        consumer.on(struct_pb2.Value, work)
        consumer.declare()
        consumer.start()
    buses[0].send("long.jobs", encode(struct_pb2.Value(string_value="job-1")))
    assert ended.wait(LIMIT_S), "the broker never delivered again: its time-out was not met"
    for bus in buses:
        bus.drain()
    assert len(runs) == 1
    with records.reading() as session:
        assert session.query(Done).count() == 1
    assert buses[0].parked("long.jobs") == []
    # The last acknowledgement may be lost with a channel that the broker closes just then.
    if (left := take(buses[0], "long.jobs")) is not None:
        work(left)
        assert len(runs) == 1
    assert take(buses[0], "long.jobs") is None
    for bus in buses:
        bus.close()
    records.close()
