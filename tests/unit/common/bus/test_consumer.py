"""The consumer acknowledges, retries or parks messages."""

import threading

import pytest
from google.protobuf import struct_pb2

from services.common.bus import Consumer, Envelope, MemoryBus, consumer, encode
from services.common.errors import Busy, InvalidInput, JobCrashed, LeaseLost, Unavailable

LIMIT_S = 10.0


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "FIRST_RETRY_S", 0.0)


class Setup:
    """A consumer of `Value` whose handler raises the given errors, one per call."""

    def __init__(self, *errors: Exception | None, attempts: int = 3) -> None:
        self.bus = MemoryBus()
        self.calls = 0
        self.recorded: list[str] = []
        self.ended = threading.Event()
        self._errors = list(errors)
        self.consumer = Consumer(self.bus, "work", attempts)
        self.consumer.on(struct_pb2.Value, self._handle, lambda _, reason: self.recorded.append(reason))
        self.consumer.declare()
        self.bus.park = self._park  # type: ignore[method-assign]
        self.parked: list[tuple[Envelope, str]] = []
        self.consumer.start()

    def _handle(self, _: struct_pb2.Value) -> None:
        self.calls += 1
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error
        self.ended.set()

    def _park(self, queue: str, envelope: Envelope, reason: str) -> None:
        self.parked.append((envelope, reason))
        self.ended.set()

    def send(self, envelope: Envelope) -> "Setup":
        self.bus.send("work", envelope)
        assert self.ended.wait(LIMIT_S)
        self.bus.close()
        return self


def test_a_handled_message_is_done() -> None:
    """A handler that returns is called once, and nothing is parked."""
    setup = Setup().send(encode(struct_pb2.Value(number_value=1)))
    assert (setup.calls, setup.parked) == (1, [])


def test_a_transient_fault_is_retried() -> None:
    """After Unavailable the message is sent again until the handler succeeds."""
    setup = Setup(Unavailable("away"), Unavailable("away")).send(encode(struct_pb2.Value(number_value=1)))
    assert (setup.calls, setup.parked) == (3, [])


def test_an_outage_counts_no_attempt() -> None:
    """However often a handler finds its records away, the message is sent again as the same attempt, and handled."""
    setup = Setup(*[Unavailable("away")] * 50).send(encode(struct_pb2.Value(number_value=1)))
    assert (setup.calls, setup.parked, setup.recorded) == (51, [], [])


def test_waits_grow_during_an_outage_and_end_with_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message that meets an outage waits longer than the one before, up to the limit. A stop ends the wait, and
    the message stays in the queue."""
    monkeypatch.setattr(consumer, "FIRST_RETRY_S", 0.5)
    setup = Setup(*[Unavailable("away")] * 9)
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 8

    monkeypatch.setattr(setup.consumer._stopping, "wait", wait)
    monkeypatch.setattr(setup.bus, "send", lambda *_: None)
    envelope = encode(struct_pb2.Value(number_value=1))
    for _ in range(7):
        setup.consumer._deliver(envelope)
    with pytest.raises(Unavailable):
        setup.consumer._deliver(envelope)
    setup.bus.close()
    assert waits == [0.5, 1, 2, 4, 8, 15, 15, 15]


def test_a_lasting_fault_is_parked_after_the_last_attempt() -> None:
    """The message is parked with its reason and attempt, and the failure is recorded."""
    setup = Setup(*[JobCrashed("killed")] * 9).send(encode(struct_pb2.Value(number_value=1)))
    assert setup.calls == 3
    [(envelope, reason)] = setup.parked
    assert envelope.attempt == 3
    assert reason == "abandoned after 3 attempts: killed"
    assert setup.recorded == [reason]


def test_a_permanent_error_is_parked_at_once() -> None:
    """InvalidInput would fail again: the handler is called once, and the failure is recorded."""
    setup = Setup(InvalidInput("no such layer")).send(encode(struct_pb2.Value(number_value=1)))
    assert (setup.calls, setup.recorded) == (1, ["no such layer"])


def test_a_defect_is_parked_with_its_name() -> None:
    """Any other exception parks the message at once, with the name of the exception."""
    setup = Setup(ZeroDivisionError("oops")).send(encode(struct_pb2.Value(number_value=1)))
    assert setup.parked[0][1] == "ZeroDivisionError: oops"


@pytest.mark.parametrize(
    ("envelope", "reason"),
    [
        (Envelope(type="no.such.Type", body="{}"), "unknown type"),
        (Envelope(type="primitives.training.v1.TrainSlice", body="{not json"), "TrainSlice"),
        (Envelope(type="primitives.training.v1.TrainSlice", body='{"run_id": 7}'), "TrainSlice"),
        (Envelope(type="primitives.training.v1.TrainSlice", body='{"run_id": "r"}'), "no handler"),
    ],
)
def test_an_unreadable_message_is_parked(envelope: Envelope, reason: str) -> None:
    """Reasons are an unknown type, a broken body, a field of the wrong type, and a type without a handler."""
    import primitives.training.v1.events_pb2  # noqa: F401 - registers TrainSlice

    setup = Setup().send(envelope)
    assert setup.calls == 0
    assert reason in setup.parked[0][1]


def test_a_field_from_a_newer_sender_is_ignored() -> None:
    """Fields may be added in v1: an older receiver reads the fields that it knows."""
    from primitives.training.v1 import events_pb2

    from services.common.bus import decode

    body = '{"run_id": "r", "slice": 2, "added_later": [1]}'
    assert decode(Envelope("primitives.training.v1.TrainSlice", body)) == events_pb2.TrainSlice(run_id="r", slice=2)


def test_busy_defers_and_a_lost_lease_acknowledges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Busy defers the message without counting an attempt; LeaseLost acknowledges it."""
    monkeypatch.setattr(consumer, "DEFER_S", 0.0)
    setup = Setup(*[Busy("job-1")] * 5, attempts=2).send(encode(struct_pb2.Value(number_value=1)))
    assert (setup.calls, setup.parked) == (6, [])
    lost = Setup(LeaseLost("job-1"))
    lost.bus.send("work", encode(struct_pb2.Value(number_value=1)))
    lost.send(encode(struct_pb2.Value(number_value=2)))
    assert (lost.calls, lost.parked) == (2, [])


def test_a_failure_that_cannot_be_recorded_is_still_parked() -> None:
    """A defect in recording does not bring the message back; unreachable records do, until they answer again."""
    setup = Setup(InvalidInput("no such layer"))
    setup.consumer.on(struct_pb2.Value, setup._handle, lambda *_: 1 / 0)
    setup.send(encode(struct_pb2.Value(number_value=1)))
    assert "the failure could not be recorded: division by zero" in setup.parked[0][1]
    away = [Unavailable("records"), Unavailable("records")]
    waiting = Setup(*[InvalidInput("no such layer")] * 9)

    def record(_: struct_pb2.Value, reason: str) -> None:
        if away:
            raise away.pop()
        waiting.recorded.append(reason)

    waiting.consumer.on(struct_pb2.Value, waiting._handle, record)
    waiting.send(encode(struct_pb2.Value(number_value=1)))
    assert (waiting.calls, waiting.recorded) == (3, ["no such layer"])
