"""The end of a worker that has no work, or whose turn is over."""

import threading

import pytest
from google.protobuf import struct_pb2

from services.common.bus import Consumer, Envelope, MemoryBus, consumer, encode
from services.common.errors import Unavailable
from services.common.runtime.idle import IdleEnd

LIMIT_S = 10.0
SHORT_S = 0.2
MESSAGE = Envelope("primitives.training.v1.BuildDataset", "{}")


def test_a_worker_without_messages_ends() -> None:
    """The time begins at the start of the service, not before."""
    over = threading.Event()
    idle = IdleEnd(SHORT_S, 0.0, over)
    assert not over.wait(SHORT_S * 2)
    idle.start()
    assert over.wait(LIMIT_S)


def test_a_worker_at_work_does_not_end() -> None:
    """The time does not run while the worker has a message, even if it arrived before the service had started. It
    begins again afterwards, also after a delivery that failed."""
    over, ended_meanwhile = threading.Event(), []
    idle = IdleEnd(SHORT_S, 0.0, over)

    def deliver(_: Envelope) -> None:
        idle.start()
        ended_meanwhile.append(over.wait(SHORT_S * 3))
        raise Unavailable("the bus delivers it again")

    with pytest.raises(Unavailable):
        idle.watched(deliver)(MESSAGE)
    assert ended_meanwhile == [False]
    assert over.wait(LIMIT_S)


def test_a_worker_whose_turn_is_over_ends_after_its_message() -> None:
    """It neither interrupts the job nor waits for the time without work. Before, it takes further messages."""
    over, worked = threading.Event(), []
    idle = IdleEnd(LIMIT_S, SHORT_S, over)
    idle.start()
    deliver = idle.watched(lambda _: worked.append(over.is_set()))
    deliver(MESSAGE)
    assert not over.is_set()
    idle.watched(lambda _: worked.append(over.wait(SHORT_S * 2)))(MESSAGE)
    assert worked == [False, False] and over.is_set()
    idle.stop()


def test_a_worker_that_waits_for_a_service_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """While records, store or broker are away, the consumer pauses with its message. That is not a time without work:
    the worker that replaces this one would only pause too."""
    monkeypatch.setattr(consumer, "FIRST_RETRY_S", SHORT_S * 3)
    over, ended_meanwhile = threading.Event(), []
    handled = threading.Event()

    def handle(_: struct_pb2.Value) -> None:
        ended_meanwhile.append(over.is_set())
        if len(ended_meanwhile) == 1:
            raise Unavailable("the store is away")
        handled.set()

    bus, idle = MemoryBus(), IdleEnd(SHORT_S, 0.0, over)
    work = Consumer(bus, "work", 1)
    work.on(struct_pb2.Value, handle)
    work.declare()
    bus.send("work", encode(struct_pb2.Value(number_value=1)))
    work.start(idle.watched)
    assert handled.wait(LIMIT_S)
    assert ended_meanwhile == [False, False]
    assert over.wait(LIMIT_S)
    bus.close()


def test_a_stopped_worker_has_no_timer() -> None:
    """The event is not set after the service has stopped."""
    over = threading.Event()
    idle = IdleEnd(SHORT_S, 0.0, over)
    idle.start()
    idle.stop()
    assert not over.wait(SHORT_S * 3)
