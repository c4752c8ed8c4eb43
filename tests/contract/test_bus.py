"""The contract of every form of the bus."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pika import BasicProperties
from pika.adapters.blocking_connection import BlockingChannel

from deploy.local.servers import Server
from services.common.bus import Bus, Envelope, parking
from services.common.bus.amqp import publish_envelope
from services.common.bus.rabbit import RabbitBus
from services.common.errors import NotFound, Unavailable
from services.common.records import now
from tests.servers import fresh_vhost

LIMIT_S = 10.0


class Inbox:
    """Collects the messages of a subscription, and waits for them."""

    def __init__(self, fail_first: int = 0) -> None:
        self.received: list[Envelope] = []
        self._fail = fail_first
        self._changed = threading.Condition()

    def __call__(self, envelope: Envelope) -> None:
        with self._changed:
            self.received.append(envelope)
            self._changed.notify_all()
            if self._fail > 0:
                self._fail -= 1
                raise RuntimeError("planted")

    def wait(self, done: Callable[[list[Envelope]], bool]) -> list[Envelope]:
        """Return the received messages as soon as `done` returns true for them."""
        with self._changed:
            assert self._changed.wait_for(lambda: done(self.received), LIMIT_S), f"only {self.received}"
            return list(self.received)


def message(body: str = "{}", type_: str = "test.Happened") -> Envelope:
    return Envelope(type=type_, body=body)


def test_a_command_arrives_complete(bus: Bus) -> None:
    """A sent envelope is delivered with the same id, type, body, attempt and trace."""
    bus.declare("work", [])
    sent = Envelope(type="test.Do", body='{"name": "é"}', attempt=3, traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    bus.send("work", sent)
    inbox = Inbox()
    bus.subscribe("work", inbox)
    assert inbox.wait(lambda received: len(received) == 1) == [sent]


def test_an_event_arrives_in_every_bound_queue_and_no_other(bus: Bus) -> None:
    """Each queue bound to the type receives a copy; a queue bound to another type receives nothing."""
    first, second, other = Inbox(), Inbox(), Inbox()
    for queue, inbox, type_ in (
        ("a", first, "test.Happened"),
        ("b", second, "test.Happened"),
        ("c", other, "test.Else"),
    ):
        bus.declare(queue, [type_])
        bus.subscribe(queue, inbox)
    bus.publish(message())
    bus.publish(message(type_="test.Else"))
    first.wait(lambda received: len(received) == 1)
    second.wait(lambda received: len(received) == 1)
    assert [envelope.type for envelope in other.wait(lambda received: len(received) == 1)] == ["test.Else"]


def test_an_event_without_subscribers_is_no_error(bus: Bus) -> None:
    """Publishing a type to which no queue is bound returns."""
    bus.publish(message(type_="test.Unbound"))


def test_a_command_to_an_unknown_queue_is_refused(bus: Bus) -> None:
    """Sending to a queue that was not declared raises NotFound, which names it."""
    with pytest.raises(NotFound, match="nowhere"):
        bus.send("nowhere", message())


def test_messages_wait_for_a_subscriber_in_order(bus: Bus) -> None:
    """Messages that are sent before anyone subscribes are delivered later, first in first out."""
    bus.declare("work", [])
    for number in range(20):
        bus.send("work", message(body=str(number)))
    inbox = Inbox()
    bus.subscribe("work", inbox)
    received = inbox.wait(lambda received: len(received) == 20)
    assert [envelope.body for envelope in received] == [str(number) for number in range(20)]


def test_a_subscription_handles_one_message_at_a_time(bus: Bus) -> None:
    """No second message is delivered while the first is being handled."""
    bus.declare("work", [])
    inside, most, done = 0, 0, threading.Event()
    lock, gate = threading.Lock(), threading.Event()

    def deliver(envelope: Envelope) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        gate.wait(LIMIT_S)
        with lock:
            inside -= 1
        if envelope.body == "last":
            done.set()

    for body in ("first", "second", "last"):
        bus.send("work", message(body=body))
    bus.subscribe("work", deliver)
    gate.set()
    assert done.wait(LIMIT_S)
    assert most == 1


def test_a_message_whose_handler_raises_is_delivered_again(bus: Bus) -> None:
    """An exception does not acknowledge the message."""
    bus.declare("work", [])
    inbox = Inbox(fail_first=2)
    bus.subscribe("work", inbox)
    sent = message()
    bus.send("work", sent)
    received = inbox.wait(lambda received: len(received) == 3)
    assert {envelope.id for envelope in received} == {sent.id}


def test_declaring_twice_changes_nothing(bus: Bus) -> None:
    """A second declaration neither loses messages nor doubles deliveries."""
    bus.declare("work", ["test.Happened"])
    bus.publish(message(body="1"))
    bus.declare("work", ["test.Happened"])
    bus.publish(message(body="2"))
    inbox = Inbox()
    bus.subscribe("work", inbox)
    received = inbox.wait(lambda received: len(received) >= 2)
    assert [envelope.body for envelope in received] == ["1", "2"]


def test_a_parked_message_keeps_its_reason(bus: Bus) -> None:
    """A parked message stays under its queue, with the reason, in order."""
    bus.declare("work", [])
    first, second = message(body="1"), message(body="2")
    bus.park("work", first, "no such thing")
    bus.park("work", second, "neither")
    assert [(parked.envelope, parked.reason) for parked in bus.parked("work")] == [
        (first, "no such thing"),
        (second, "neither"),
    ]


def test_a_replayed_message_is_delivered_and_no_longer_parked(bus: Bus) -> None:
    """It arrives as at its first attempt, with the same id, body and trace. The others stay parked, in their order."""
    bus.declare("work", [])
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    messages = [Envelope(type="test.Do", body=str(number), attempt=5, traceparent=trace) for number in range(4)]
    for one in messages:
        bus.park("work", one, "no such thing")
    inbox = Inbox()
    bus.subscribe("work", inbox)
    assert bus.replay("work", [messages[2].id, "unknown"]) == [messages[2].id]
    assert inbox.wait(lambda received: len(received) == 1) == [replace(messages[2], attempt=1)]
    assert [parked.envelope.body for parked in bus.parked("work")] == ["0", "1", "3"]
    assert sorted(bus.replay("work", [one.id for one in messages])) == sorted(
        one.id for one in messages if one is not messages[2]
    )
    inbox.wait(lambda received: len(received) == 4)
    assert (bus.parked("work"), bus.replay("work", [messages[2].id])) == ([], [])


def await_depth(bus: Bus, queue: str, depth: tuple[int, int]) -> None:
    """Wait until a queue has this depth: a broker counts messages that a reader returned a moment later."""
    deadline = time.monotonic() + LIMIT_S
    while bus.depth(queue) != depth:
        assert time.monotonic() < deadline, f"{bus.depth(queue)}, not {depth}"


def test_a_discarded_message_is_gone(bus: Bus) -> None:
    """It is neither parked nor delivered. The others stay."""
    bus.declare("work", [])
    first, second = message(body="1"), message(body="2")
    for one in (first, second):
        bus.park("work", one, "no such thing")
    assert bus.discard("work", [first.id, "unknown"]) == [first.id]
    assert [parked.envelope for parked in bus.parked("work")] == [second]
    await_depth(bus, "work", (0, 1))


def test_parked_messages_can_be_read_often_and_in_part(bus: Bus) -> None:
    """Reading removes nothing, and keeps the order. Each message has the time at which it was parked."""
    bus.declare("work", [])
    for number in range(3):
        bus.park("work", message(body=str(number)), "no such thing")
    for _ in range(30):
        assert [parked.envelope.body for parked in bus.parked("work")] == ["0", "1", "2"]
    for _ in range(30):
        assert len({parked.envelope.body for parked in bus.parked("work", most=2)}) == 2
    found = bus.parked("work")
    assert {parked.envelope.body for parked in found} == {"0", "1", "2"}
    assert all(parked.since is not None and abs(now() - parked.since) < timedelta(minutes=10) for parked in found)


def test_replaying_into_a_missing_queue_keeps_the_message(rabbitmq: Server) -> None:
    """NotFound, and the message is still parked: it is removed only after its queue has confirmed it."""
    bus = RabbitBus([fresh_vhost(rabbitmq)])
    bus.declare("work", [])
    parked = message()
    bus.park("work", parked, "no such thing")
    bus._publisher.do(lambda channel: channel.queue_delete("work"))
    with pytest.raises(NotFound, match="work"):
        bus.replay("work", [parked.id])
    assert [one.envelope for one in bus.parked("work")] == [parked]
    bus.close()


def test_a_process_that_dies_during_a_replay_loses_nothing(rabbitmq: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection ends after the message was sent and before the parked one is acknowledged: it is in both places,
    and a second replay removes it."""
    bus = RabbitBus([fresh_vhost(rabbitmq)])
    bus.declare("work", [])
    parked = message()
    bus.park("work", parked, "no such thing")

    def die(channel: BlockingChannel, **options: Any) -> None:
        publish_envelope(channel, **options)
        channel.connection.close()
        raise RuntimeError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(parking, "publish_envelope", die)
        with pytest.raises(RuntimeError, match="planted"):
            bus.replay("work", [parked.id])
    await_depth(bus, "work", (1, 1))
    assert bus.replay("work", [parked.id]) == [parked.id]
    await_depth(bus, "work", (2, 0))
    bus.close()


def test_a_message_of_another_sender_can_be_named(rabbitmq: Server) -> None:
    """A message without a usable id has one made of its content, also when the broker has parked it."""
    bus = RabbitBus([fresh_vhost(rabbitmq)])
    bus.declare("work", [])
    properties = BasicProperties(message_id="a/b?", type="test.Do", headers={"x-first-death-reason": "delivery_limit"})
    bus._publisher.do(lambda channel: channel.basic_publish("", "work.parked", b"{}", properties))
    [parked] = bus.parked("work")
    assert re.fullmatch("[0-9a-f]{32}", parked.envelope.id)
    assert (parked.reason, parked.since) == (
        "parked by the broker, without an answer of a consumer: delivery_limit", None,
    )  # fmt: skip
    assert bus.discard("work", [parked.envelope.id]) == [parked.envelope.id]
    assert bus.depth("work") == (0, 0)
    bus.close()


def test_the_depth_counts_waiting_and_parked_messages(bus: Bus) -> None:
    """NotFound for a queue that does not exist; the bus works afterwards."""
    bus.declare("work", [])
    with pytest.raises(NotFound, match="nowhere"):
        bus.depth("nowhere")
    assert bus.depth("work") == (0, 0)
    for number in range(3):
        bus.send("work", message(body=str(number)))
    bus.park("work", message(), "no such thing")
    assert bus.depth("work") == (3, 1)


def test_draining_finishes_the_current_message(bus: Bus) -> None:
    """`drain` returns only after the running handler has returned, and nothing is delivered afterwards."""
    bus.declare("work", [])
    started, finished = threading.Event(), threading.Event()
    received: list[str] = []

    def deliver(envelope: Envelope) -> None:
        received.append(envelope.body)
        started.set()
        finished.wait(LIMIT_S)

    bus.send("work", message(body="1"))
    bus.send("work", message(body="2"))
    bus.subscribe("work", deliver)
    assert started.wait(LIMIT_S)
    draining = threading.Thread(target=bus.drain)
    draining.start()
    finished.set()
    draining.join(LIMIT_S)
    assert not draining.is_alive()
    assert received == ["1"]


def test_a_closed_bus_accepts_nothing(bus: Bus) -> None:
    """Publishing and sending after close raise Unavailable; closing again is harmless."""
    bus.declare("work", ["test.Happened"])
    bus.close()
    bus.close()
    with pytest.raises(Unavailable):
        bus.send("work", message())
    with pytest.raises(Unavailable):
        bus.publish(message())
