"""What every form of the bus does."""

import threading
from collections.abc import Callable

import pytest

from services.common.bus import Bus, Envelope
from services.common.errors import NotFound, Unavailable

LIMIT_S = 10.0


class Inbox:
    """Collects what a subscription delivers, and waits for it."""

    def __init__(self, fail_first: int = 0) -> None:
        self.taken: list[Envelope] = []
        self._fail = fail_first
        self._changed = threading.Condition()

    def __call__(self, envelope: Envelope) -> None:
        with self._changed:
            self.taken.append(envelope)
            self._changed.notify_all()
            if self._fail > 0:
                self._fail -= 1
                raise RuntimeError("planted")

    def wait(self, done: Callable[[list[Envelope]], bool]) -> list[Envelope]:
        """What was taken, once `done` says that it is all."""
        with self._changed:
            assert self._changed.wait_for(lambda: done(self.taken), LIMIT_S), f"only {self.taken}"
            return list(self.taken)


def message(body: str = "{}", type_: str = "test.Happened") -> Envelope:
    return Envelope(type=type_, body=body)


def test_a_command_reaches_its_queue_whole(bus: Bus) -> None:
    """A sent envelope is delivered with the same id, type, body, attempt and trace."""
    bus.declare("work", [])
    sent = Envelope(type="test.Do", body='{"name": "é"}', attempt=3, traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    bus.send("work", sent)
    inbox = Inbox()
    bus.subscribe("work", inbox)
    assert inbox.wait(lambda taken: len(taken) == 1) == [sent]


def test_an_event_reaches_every_bound_queue_and_no_other(bus: Bus) -> None:
    """Publishing copies to each queue bound to the type; a queue bound to another type gets nothing."""
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
    first.wait(lambda taken: len(taken) == 1)
    second.wait(lambda taken: len(taken) == 1)
    assert [envelope.type for envelope in other.wait(lambda taken: len(taken) == 1)] == ["test.Else"]


def test_an_event_that_nobody_listens_to_is_no_error(bus: Bus) -> None:
    """Publishing a type that no queue is bound to returns."""
    bus.publish(message(type_="test.Unheard"))


def test_a_command_to_an_unknown_queue_is_refused(bus: Bus) -> None:
    """Sending to a queue that was not declared raises NotFound, which names it."""
    with pytest.raises(NotFound, match="nowhere"):
        bus.send("nowhere", message())


def test_messages_wait_for_a_subscriber_in_order(bus: Bus) -> None:
    """What is sent before anyone subscribes is delivered later, first in first out."""
    bus.declare("work", [])
    for number in range(20):
        bus.send("work", message(body=str(number)))
    inbox = Inbox()
    bus.subscribe("work", inbox)
    taken = inbox.wait(lambda taken: len(taken) == 20)
    assert [envelope.body for envelope in taken] == [str(number) for number in range(20)]


def test_a_subscription_handles_one_message_at_a_time(bus: Bus) -> None:
    """No second message is delivered while the first is in hand."""
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
    """An exception is no acknowledgement."""
    bus.declare("work", [])
    inbox = Inbox(fail_first=2)
    bus.subscribe("work", inbox)
    sent = message()
    bus.send("work", sent)
    taken = inbox.wait(lambda taken: len(taken) == 3)
    assert {envelope.id for envelope in taken} == {sent.id}


def test_declaring_twice_changes_nothing(bus: Bus) -> None:
    """A second declaration neither loses messages nor doubles deliveries."""
    bus.declare("work", ["test.Happened"])
    bus.publish(message(body="1"))
    bus.declare("work", ["test.Happened"])
    bus.publish(message(body="2"))
    inbox = Inbox()
    bus.subscribe("work", inbox)
    taken = inbox.wait(lambda taken: len(taken) >= 2)
    assert [envelope.body for envelope in taken] == ["1", "2"]


def test_a_parked_message_keeps_its_reason(bus: Bus) -> None:
    """Parking sets a message aside under its queue, with the reason, in order."""
    bus.declare("work", [])
    first, second = message(body="1"), message(body="2")
    bus.park("work", first, "no such thing")
    bus.park("work", second, "neither")
    assert [(parked.envelope, parked.reason) for parked in bus.parked("work")] == [
        (first, "no such thing"),
        (second, "neither"),
    ]


def test_the_depth_of_a_queue_is_told(bus: Bus) -> None:
    """Messages that wait and that were set aside; NotFound for a queue that there is not, and the bus goes on."""
    bus.declare("work", [])
    with pytest.raises(NotFound, match="nowhere"):
        bus.depth("nowhere")
    assert bus.depth("work") == (0, 0)
    for number in range(3):
        bus.send("work", message(body=str(number)))
    bus.park("work", message(), "no such thing")
    assert bus.depth("work") == (3, 1)


def test_draining_finishes_the_message_in_hand(bus: Bus) -> None:
    """`drain` returns only after the handler that runs has returned, and nothing is delivered afterwards."""
    bus.declare("work", [])
    started, finished = threading.Event(), threading.Event()
    taken: list[str] = []

    def deliver(envelope: Envelope) -> None:
        taken.append(envelope.body)
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
    assert taken == ["1"]


def test_a_closed_bus_takes_nothing(bus: Bus) -> None:
    """Publishing and sending after close raise Unavailable; closing again is harmless."""
    bus.declare("work", ["test.Happened"])
    bus.close()
    bus.close()
    with pytest.raises(Unavailable):
        bus.send("work", message())
    with pytest.raises(Unavailable):
        bus.publish(message())
