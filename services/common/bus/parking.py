"""The parked messages of a queue of RabbitMQ: read, sent again or removed, on a channel that the caller owns.

AMQP has no call that reads a queue without consuming it. So messages are received without being acknowledged, and all
that are not settled return to the queue at the end. If the connection breaks, the broker returns them itself.
"""

import hashlib
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel

from services.common.bus.amqp import PARKED, publish_envelope, read_envelope
from services.common.bus.messages import Envelope
from services.common.bus.port import Parked

ADDRESSABLE = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Ids that can be a part of a path. A message of another sender that has no such id is named by its content."""


def read_parked(channel: BlockingChannel, queue: str, most: int | None = None) -> list[Parked]:
    """Return the parked messages of a queue in their order, or any `most` of them: the broker returns those that were
    read behind the others."""
    return _receive(channel, queue, lambda _tag, _envelope: False, most)


def replay_parked(channel: BlockingChannel, queue: str, ids: Collection[str], done: list[str]) -> None:
    """Send parked messages to their queue again, and add their ids to `done`. Each one is acknowledged, which removes
    it, after the broker has confirmed that the queue has it."""

    def settle(tag: int, envelope: Envelope) -> bool:
        if envelope.id not in ids:
            return False
        first = replace(envelope, attempt=1)
        publish_envelope(channel, envelope=first, exchange="", routing_key=queue, mandatory=True)
        channel.basic_ack(tag)
        done.append(envelope.id)
        return True

    _receive(channel, queue, settle)


def discard_parked(channel: BlockingChannel, queue: str, ids: Collection[str], done: list[str]) -> None:
    """Remove parked messages for good, and add their ids to `done`."""

    def settle(tag: int, envelope: Envelope) -> bool:
        if envelope.id not in ids:
            return False
        channel.basic_ack(tag)
        done.append(envelope.id)
        return True

    _receive(channel, queue, settle)


def _receive(
    channel: BlockingChannel, queue: str, settle: Callable[[int, Envelope], bool], most: int | None = None
) -> list[Parked]:
    """Receive parked messages and return them. `settle` acknowledges one and returns true, or returns false."""
    found: list[Parked] = []
    unsettled: list[int] = []
    try:
        while most is None or len(found) < most:
            method, properties, body = channel.basic_get(queue + PARKED)
            if method is None:
                break
            unsettled.append(method.delivery_tag)
            found.append(_parked(properties, body))
            if settle(method.delivery_tag, found[-1].envelope):
                unsettled.pop()
    finally:
        if unsettled and channel.is_open:
            channel.basic_nack(unsettled[-1], multiple=True, requeue=True)
    return found


def _parked(properties: Any, body: bytes) -> Parked:
    envelope, headers = read_envelope(properties, body), properties.headers or {}
    if not ADDRESSABLE.fullmatch(envelope.id):
        envelope = replace(envelope, id=hashlib.sha256(envelope.type.encode() + b"\0" + body).hexdigest()[:32])
    since = datetime.fromtimestamp(properties.timestamp, UTC) if properties.timestamp is not None else None
    return Parked(envelope, str(headers.get("reason", "")) or _reason_of_the_broker(headers), since)


def _reason_of_the_broker(headers: dict[str, Any]) -> str:
    """Return why the broker itself parked a message, such as `delivery_limit`; empty if it did not."""
    why = str(headers.get("x-first-death-reason", ""))
    return f"parked by the broker, without an answer of a consumer: {why}" if why else ""
