"""The port for messages. Commands go to one queue, events to every queue that is bound to their type."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from services.common.bus.messages import Envelope

Deliver = Callable[[Envelope], None]


@dataclass(frozen=True)
class Parked:
    """A message that nobody will try again, and why."""

    envelope: Envelope
    reason: str


class Depth(NamedTuple):
    """How many messages of a queue wait to be delivered, and how many were set aside."""

    waiting: int
    parked: int


class Bus(Protocol):
    """At least once, one message at a time a subscription, in the order sent when nothing fails.

    `tests/contract/test_bus.py` is the contract; every form of the bus passes it.
    """

    durable: bool
    """Whether messages outlive the process; where they do not, services send their unfinished work again at start."""

    def declare(self, queue: str, types: Sequence[str]) -> None:
        """Make a queue and bind it to types of events; declaring it again is harmless."""

    def publish(self, envelope: Envelope) -> None:
        """Give an event to every queue bound to its type, of which there may be none. Raises Unavailable."""

    def send(self, queue: str, envelope: Envelope) -> None:
        """Give a command to one declared queue; NotFound if there is no such queue. Raises Unavailable."""

    def subscribe(self, queue: str, deliver: Deliver) -> None:
        """Call `deliver` with each message of a queue, from a thread of the bus. Its return acknowledges the message;
        if it raises, the message is delivered again."""

    def park(self, queue: str, envelope: Envelope, reason: str) -> None:
        """Set a message of a queue aside for a person to look at."""

    def parked(self, queue: str) -> list[Parked]:
        """The messages of a queue that were set aside, oldest first."""

    def depth(self, queue: str) -> Depth:
        """How full a declared queue is; NotFound if there is no such queue. Raises Unavailable within seconds: whoever
        asks wants to know now."""

    def stop_taking(self) -> None:
        """Begin no more deliveries, and return at once. Messages can still be sent."""

    def drain(self) -> None:
        """Stop delivering: returns when the messages in hand are done. What was not delivered stays in its queue."""

    def close(self) -> None:
        """Drain and let go of every resource; harmless when repeated."""
