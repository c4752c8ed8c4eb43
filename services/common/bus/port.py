"""The port for messages. Commands go to one queue, events to every queue that is bound to their type."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from services.common.bus.messages import Envelope

Deliver = Callable[[Envelope], None]


@dataclass(frozen=True)
class Parked:
    """A message that is not retried, the reason, and when it was parked (None if an earlier version parked it)."""

    envelope: Envelope
    reason: str
    since: datetime | None = None


class Replay(NamedTuple):
    """What a replay of a parked message does, as a sentence. The message is sent again if it is `needed`: otherwise its
    work has been enqueued in another way."""

    needed: bool
    effect: str


class Depth(NamedTuple):
    """The number of messages in a queue that wait for delivery, and the number that were parked."""

    waiting: int
    parked: int


class Bus(Protocol):
    """Delivers each message at least once; to a subscription one at a time, in the order sent if nothing fails.

    `tests/contract/test_bus.py` is the contract; every form of the bus passes it.
    """

    durable: bool
    """Whether messages outlive the process. If not, services send their unfinished work again at start."""

    def declare(self, queue: str, types: Sequence[str]) -> None:
        """Make a queue and bind it to types of events. Declaring it again is harmless."""

    def publish(self, envelope: Envelope) -> None:
        """Send an event to every queue that is bound to its type; there may be none. Raises Unavailable."""

    def send(self, queue: str, envelope: Envelope) -> None:
        """Send a command to one declared queue. NotFound if the queue does not exist. Raises Unavailable."""

    def subscribe(self, queue: str, deliver: Deliver) -> None:
        """Call `deliver` with each message of a queue, from a thread of the bus. The message is acknowledged when it
        returns, and delivered again if it raises."""

    def park(self, queue: str, envelope: Envelope, reason: str) -> None:
        """Put a message of a queue aside for a person to look at."""

    def parked(self, queue: str, most: int | None = None) -> list[Parked]:
        """Return the parked messages of a queue in the order in which they were parked, or any `most` of them. Those
        that another process reads at the same moment may be left out."""

    def replay(self, queue: str, ids: Collection[str]) -> list[str]:
        """Send parked messages to their queue again, as at their first attempt. Return the ids of those found.

        A message is parked until the queue has confirmed it. If the process dies in between, it is in both places.
        """

    def discard(self, queue: str, ids: Collection[str]) -> list[str]:
        """Remove parked messages for good. Return the ids of those that were found."""

    def depth(self, queue: str) -> Depth:
        """Return the depth of a declared queue. NotFound if it does not exist. Raises Unavailable within seconds."""

    def stop_deliveries(self) -> None:
        """Start no more deliveries, and return at once. Messages can still be sent."""

    def drain(self) -> None:
        """Stop deliveries, and return when the running handlers have. Undelivered messages stay in their queue."""

    def close(self) -> None:
        """Drain and release every resource. Closing again is harmless."""
