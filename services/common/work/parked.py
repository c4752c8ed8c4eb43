"""The parked messages of a service, for an operator: listed, replayed and discarded."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, Field

from services.common.bus import Bus, Consumer, Parked, Replay, ids_of
from services.common.errors import Conflict, NotFound
from services.common.observability.logs import get_logger
from services.common.redaction import quoted
from services.common.work.views import Moment

log = get_logger(__name__)

MOST_LISTED = 200
"""Messages of a queue that are listed. Its depth in the status of the service counts all."""

_MESSAGE_ID = re.compile(r"[!-\-0-~][!-.0-~]{0,199}")

Outcome = Literal["requeued", "sent", "refused", "discarded"]


class ParkedMessage(BaseModel):
    """A message that is not retried."""

    message_id: str
    queue: str
    type: str = Field(description="The full name of its protobuf type.")
    ids: dict[str, str] = Field(description="The ids in the message, such as run_id.")
    attempts: int = Field(description="How often it was tried.")
    reason: str
    since: Moment = Field(description="When it was parked; empty if an earlier version parked it.")


class ParkedList(BaseModel):
    """The parked messages of all queues of a service, at most 200 of each, oldest first."""

    messages: list[ParkedMessage]


class ParkedOutcome(BaseModel):
    """What was done with a parked message.

    `requeued`: the task that failed because of it is queued again with all work that is not done, and the message is
    removed. `sent`: the message is in its queue again. `refused`: it could have no effect, and stays parked.
    `discarded`: it is removed.
    """

    message_id: str
    queue: str
    type: str
    outcome: Outcome
    effect: str = Field(description="What happens now, in a sentence.")


class ParkedOutcomes(BaseModel):
    """What was done with each parked message."""

    messages: list[ParkedOutcome]


@dataclass(frozen=True)
class ParkedMessages:
    """The parked messages of the queues of a service.

    No message is lost: the records change before the message is sent or removed, and a message is sent before it is
    removed. If the process dies in between, the message is still parked, and a second replay does the rest.
    """

    bus: Bus
    consumers: Sequence[Consumer]

    def all(self) -> ParkedList:
        """The parked messages, by queue."""
        return ParkedList(
            messages=[
                _view(consumer.queue, parked)
                for consumer in self.consumers
                for parked in self.bus.parked(consumer.queue, MOST_LISTED)
            ]
        )

    def replay(self, message_id: str, caller: str) -> ParkedOutcome:
        """Replay one message. NotFound if it is not parked here, Conflict if it could have no effect."""
        consumer, parked = self._find(message_id)
        replay = _prepare(consumer, parked)
        self._settle(consumer.queue, [(parked, replay)])
        return _replayed(consumer.queue, parked, replay, caller)

    def replay_all(self, queue: str, caller: str) -> ParkedOutcomes:
        """Replay all messages of a queue, or of all queues if it is empty. NotFound for a queue of another service.
        Messages that could have no effect stay parked."""
        chosen = [consumer for consumer in self.consumers if queue in ("", consumer.queue)]
        if queue and not chosen:
            raise NotFound(
                f"there is no queue {quoted(queue)}; it is one of {', '.join(one.queue for one in self.consumers)}"
            )
        return ParkedOutcomes(messages=[done for one in chosen for done in self._replay_queue(one, caller)])

    def discard(self, message_id: str, caller: str) -> ParkedOutcome:
        """Remove one message for good. Its task stays failed. NotFound if it is not parked here."""
        consumer, parked = self._find(message_id)
        self.bus.discard(consumer.queue, [message_id])
        effect = "The message is removed. Its task stays as it is."
        return _done(consumer.queue, parked, "discarded", effect, caller)

    def _replay_queue(self, consumer: Consumer, caller: str) -> list[ParkedOutcome]:
        prepared: list[tuple[Parked, Replay]] = []
        refused: list[tuple[Parked, str]] = []
        try:
            for parked in self.bus.parked(consumer.queue):
                try:
                    prepared.append((parked, _prepare(consumer, parked)))
                except Conflict as error:
                    refused.append((parked, str(error)))
        finally:  # what is prepared is sent, also if a later message meets an error
            self._settle(consumer.queue, prepared)
        queue = consumer.queue
        return [_replayed(queue, parked, replay, caller) for parked, replay in prepared] + [
            _done(queue, parked, "refused", reason, caller) for parked, reason in refused
        ]

    def _settle(self, queue: str, replays: Sequence[tuple[Parked, Replay]]) -> None:
        if needed := [parked.envelope.id for parked, replay in replays if replay.needed]:
            self.bus.replay(queue, needed)
        if done := [parked.envelope.id for parked, replay in replays if not replay.needed]:
            self.bus.discard(queue, done)

    def _find(self, message_id: str) -> tuple[Consumer, Parked]:
        for consumer in self.consumers:
            for parked in self.bus.parked(consumer.queue):
                if parked.envelope.id == message_id:
                    return consumer, parked
        raise NotFound(f"there is no parked message {quoted(message_id)}")


def message_in_path(message_id: str) -> str:
    """Return the id of a message, escaped for the path of a request.

    NotFound for one that would name another path: a client shortens `/v1/parked/./replay`, which is then the address
    that replays all messages. Ids of ours have letters and digits only; other senders may have others.
    """
    if _MESSAGE_ID.fullmatch(message_id) is None:
        raise NotFound(f"there is no parked message {quoted(message_id)}")
    return quote(message_id, "")


def _prepare(consumer: Consumer, parked: Parked) -> Replay:
    try:
        return consumer.prepare_replay(parked.envelope)
    except NotFound as error:
        raise Conflict(f"{error}, so this message has no effect; discard it") from error


def _view(queue: str, parked: Parked) -> ParkedMessage:
    return ParkedMessage(
        message_id=parked.envelope.id,
        queue=queue,
        type=parked.envelope.type,
        ids=ids_of(parked.envelope),
        attempts=parked.envelope.attempt,
        reason=parked.reason,
        since=parked.since,
    )


def _replayed(queue: str, parked: Parked, replay: Replay, caller: str) -> ParkedOutcome:
    return _done(queue, parked, "sent" if replay.needed else "requeued", replay.effect, caller)


def _done(queue: str, parked: Parked, outcome: Outcome, effect: str, caller: str) -> ParkedOutcome:
    envelope = parked.envelope
    log.warning(
        f"parked message {outcome}", queue=queue, message=envelope.id, type=envelope.type, caller=caller, reason=effect
    )
    return ParkedOutcome(message_id=envelope.id, queue=queue, type=envelope.type, outcome=outcome, effect=effect)
