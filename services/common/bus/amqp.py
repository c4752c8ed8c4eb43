"""What the connections to RabbitMQ share: names, limits, connection parameters, and envelopes as AMQP messages."""

import random
from datetime import UTC, datetime
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from services.common.bus.messages import Envelope
from services.common.errors import InvalidInput, NotFound
from services.common.observability.logs import get_logger

log = get_logger(__name__)

EXCHANGE = "primitives.events"
PARKED = ".parked"
HEARTBEAT_S = 30
BLOCKED_LIMIT_S = 60.0
FIRST_RECONNECT_S, LONGEST_RECONNECT_S = 0.2, 10.0
NO_SUCH_QUEUE = 404
QUORUM = {"x-queue-type": "quorum"}


def connection_parameters(url: str) -> pika.URLParameters:
    """Return the parameters of a connection to one node. InvalidInput for a text that is not an AMQP URL."""
    try:
        parameters = pika.URLParameters(url)
    except ValueError:  # its message quotes a part of the URL, which may be part of a secret
        raise InvalidInput(
            "PRIMITIVES_BUS_URL is not a URL of a broker; write / # ? @ and : of a password as %2F %23 %3F %40 and %3A"
        ) from None
    parameters.heartbeat = HEARTBEAT_S
    parameters.blocked_connection_timeout = BLOCKED_LIMIT_S
    parameters.connection_attempts = 1
    parameters.socket_timeout = 5.0
    return parameters


def publish_envelope(
    channel: BlockingChannel,
    *,
    envelope: Envelope,
    exchange: str,
    routing_key: str,
    mandatory: bool = False,
    reason: str = "",
) -> None:
    """Publish an envelope as a persistent message, with the time. `reason` is the header of a parked message."""
    optional = {"reason": reason, "traceparent": envelope.traceparent}
    headers = {"attempt": envelope.attempt} | {name: value for name, value in optional.items() if value}
    properties = pika.BasicProperties(
        content_type="application/json",
        delivery_mode=pika.DeliveryMode.Persistent.value,
        message_id=envelope.id,
        type=envelope.type,
        timestamp=int(datetime.now(UTC).timestamp()),
        headers=headers,
    )
    channel.basic_publish(exchange, routing_key, envelope.body.encode(), properties, mandatory=mandatory)


def waiting_messages(channel: BlockingChannel, queue_name: str) -> int:
    """Return the number of messages in a queue. NotFound if it does not exist."""
    try:
        return int(channel.queue_declare(queue_name, passive=True).method.message_count)
    except ChannelClosedByBroker as error:
        if error.reply_code == NO_SUCH_QUEUE:
            raise NotFound(f"there is no queue {queue_name!r}") from error
        raise


def read_envelope(properties: Any, body: bytes) -> Envelope:
    """Return the envelope of a received message."""
    headers = properties.headers or {}
    return Envelope(
        type=properties.type or "",
        body=body.decode(errors="replace"),
        id=properties.message_id or "",
        attempt=_attempt(headers.get("attempt")),
        traceparent=str(headers.get("traceparent", "")),
    )


def _attempt(header: Any) -> int:
    """Return the attempt in a header; 1 if another sender wrote none, or an invalid one."""
    return header if isinstance(header, int) and header > 0 else 1


def jittered(seconds: float) -> float:
    """Return a wait of between half and one and a half times the seconds."""
    return seconds * random.uniform(0.5, 1.5)


def close_quietly(thing: Any) -> None:
    """Close a connection, or the connection of a channel. It may be broken already."""
    connection = getattr(thing, "connection", thing)
    if connection is None or not connection.is_open:
        return
    try:
        connection.close()
    except (AMQPError, OSError) as error:
        log.debug("closing a broken connection", reason=repr(error))
