"""The deployed bus: RabbitMQ through pika.

pika is not thread-safe, and its heartbeats stop while a callback runs. So each connection belongs to one thread that
only does I/O: a publisher's, and one a subscription, beside which a worker thread runs the handlers. A message is
acknowledged on the channel that delivered it or not at all: after a reconnect the broker delivers it again.
"""

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import AMQPError, ChannelClosedByBroker, NackError, UnroutableError

from services.common.bus.messages import Envelope
from services.common.bus.port import Deliver, Depth, Parked
from services.common.errors import InvalidInput, NotFound, Unavailable
from services.common.observability.logs import get_logger

log = get_logger(__name__)

EXCHANGE = "primitives.events"
PARKED = ".parked"
HEARTBEAT_S = 30
BLOCKED_LIMIT_S = 60.0
PUBLISH_LIMIT_S = 30.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 10.0
IDLE_S = 1.0
LOOK_LIMIT_S = 3.0
NO_SUCH_QUEUE = 404
QUORUM = {"x-queue-type": "quorum"}

Request = tuple[Callable[[BlockingChannel], Any], "Future[Any]"]


class RabbitBus:
    """See `Bus`. `urls` are AMQP URLs of the broker's nodes; any of them will do."""

    durable = True

    def __init__(self, urls: Sequence[str]) -> None:
        self._parameters = [_parameters(url) for url in urls]
        self._publisher = _Publisher(self._parameters)
        self._subscriptions: list[_Subscription] = []

    def declare(self, queue: str, types: Sequence[str]) -> None:
        def make(channel: BlockingChannel) -> None:
            for name in (queue, queue + PARKED):
                channel.queue_declare(name, durable=True, arguments=QUORUM)
            for type_ in types:
                channel.queue_bind(queue, EXCHANGE, routing_key=type_)

        self._publisher.do(make)

    def publish(self, envelope: Envelope) -> None:
        # Not mandatory: an event may have no listener. Queues are bound before any service starts.
        self._publisher.do(partial(_publish, envelope=envelope, exchange=EXCHANGE, routing_key=envelope.type))

    def send(self, queue: str, envelope: Envelope) -> None:
        self._publisher.do(partial(_publish, envelope=envelope, exchange="", routing_key=queue, mandatory=True))

    def subscribe(self, queue: str, deliver: Deliver) -> None:
        subscription = _Subscription(self._parameters, queue, deliver)
        self._subscriptions.append(subscription)
        subscription.start()

    def park(self, queue: str, envelope: Envelope, reason: str) -> None:
        send = partial(
            _publish, envelope=envelope, exchange="", routing_key=queue + PARKED, mandatory=True, reason=reason
        )
        self._publisher.do(send)

    def parked(self, queue: str) -> list[Parked]:
        def read(channel: BlockingChannel) -> list[Parked]:
            found = []
            last = None
            while True:
                method, properties, body = channel.basic_get(queue + PARKED)
                if method is None:
                    break
                last = method.delivery_tag
                found.append(Parked(_envelope(properties, body), str((properties.headers or {}).get("reason", ""))))
            if last is not None:
                channel.basic_nack(last, multiple=True, requeue=True)
            return found

        found: list[Parked] = self._publisher.do(read)
        return found

    def depth(self, queue: str) -> Depth:
        def look(channel: BlockingChannel) -> Depth:
            return Depth(*(_waiting(channel, name) for name in (queue, queue + PARKED)))

        found: Depth = self._publisher.do(look, LOOK_LIMIT_S)
        return found

    def stop_taking(self) -> None:
        for subscription in self._subscriptions:
            subscription.stop()

    def drain(self) -> None:
        self.stop_taking()
        for subscription in self._subscriptions:
            subscription.join()

    def close(self) -> None:
        self.drain()
        self._publisher.close()


class _Publisher:
    """A connection of its own, with publisher confirms; callers wait for their request's confirm."""

    def __init__(self, parameters: Sequence[pika.ConnectionParameters]) -> None:
        self._parameters = parameters
        self._requests: queue.Queue[Request | None] = queue.Queue()
        self._closed = False
        self._channel: BlockingChannel | None = None
        self._thread = threading.Thread(target=self._serve, name="bus:publish", daemon=True)
        self._thread.start()

    def do(self, work: Callable[[BlockingChannel], Any], limit_s: float = PUBLISH_LIMIT_S + BLOCKED_LIMIT_S) -> Any:
        """Run `work` on the channel, again on a new connection if one breaks. Unavailable when the time is over; then
        it is not begun any more."""
        if self._closed:
            raise Unavailable("the bus is closed and takes no more messages")
        future: Future[Any] = Future()
        self._requests.put((work, future))
        try:
            return future.result(limit_s)
        except TimeoutError as error:
            future.cancel()
            raise Unavailable(f"the broker did not confirm within {limit_s:.0f} s") from error

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._requests.put(None)
            self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                request = self._requests.get(timeout=HEARTBEAT_S / 3)
            except queue.Empty:
                self._keep_alive()
                continue
            if request is None:
                break
            self._handle(*request)
        self._disconnect()

    def _handle(self, work: Callable[[BlockingChannel], Any], future: "Future[Any]") -> None:
        if not future.set_running_or_notify_cancel():
            return  # whoever asked has given up
        deadline = time.monotonic() + PUBLISH_LIMIT_S
        wait = FIRST_WAIT_S
        while True:
            try:
                future.set_result(work(self._connected()))
                return
            except UnroutableError as error:
                future.set_exception(NotFound(f"there is no queue {error.messages[0].method.routing_key!r}"))
                return
            except (AMQPError, NackError, OSError) as error:
                self._disconnect()
                if time.monotonic() > deadline or self._closed:
                    future.set_exception(Unavailable(f"the broker does not answer: {error!r}"))
                    return
                log.warning("publishing again", reason=repr(error))
                time.sleep(_jittered(wait))
                wait = min(wait * 2, LONGEST_WAIT_S)
            except Exception as error:  # a defect is the caller's to see, and must not end this thread
                future.set_exception(error)
                return

    def _connected(self) -> BlockingChannel:
        if self._channel is None or not self._channel.is_open:
            self._disconnect()
            self._channel = BlockingConnection(self._parameters).channel()
            self._channel.confirm_delivery()
            self._channel.exchange_declare(EXCHANGE, "topic", durable=True)
        return self._channel

    def _keep_alive(self) -> None:
        if self._channel is not None:
            try:
                self._channel.connection.process_data_events(0)
            except (AMQPError, OSError) as error:
                log.warning("publisher connection lost", reason=repr(error))
                self._disconnect()

    def _disconnect(self) -> None:
        channel, self._channel = self._channel, None
        _close_quietly(channel)


@dataclass(frozen=True)
class _Delivery:
    """A message in hand, and the channel on which alone it may be acknowledged."""

    channel: BlockingChannel
    tag: int
    envelope: Envelope


class _Subscription:
    """An I/O thread that owns a connection, and a worker thread that runs the handler, one message at a time."""

    def __init__(self, parameters: Sequence[pika.ConnectionParameters], queue_name: str, deliver: Deliver) -> None:
        self._parameters, self._queue, self._deliver = parameters, queue_name, deliver
        self._stopping = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._work: queue.Queue[_Delivery | None] = queue.Queue()
        self._cancelled = False
        self._io = threading.Thread(target=self._serve, name=f"bus-io:{queue_name}", daemon=True)
        self._worker = threading.Thread(target=self._handle_all, name=f"bus:{queue_name}", daemon=True)

    def start(self) -> None:
        self._io.start()
        self._worker.start()

    def stop(self) -> None:
        """Take no more messages; the one in hand is finished and acknowledged."""
        self._stopping.set()

    def join(self) -> None:
        self._io.join()
        self._worker.join()

    def _serve(self) -> None:
        wait = FIRST_WAIT_S
        while not self._stopping.is_set():
            connection: BlockingConnection | None = None
            try:
                connection = BlockingConnection(self._parameters)
                channel = self._consume(connection)
                wait = FIRST_WAIT_S
                self._pump(connection, channel)
            except (AMQPError, OSError) as error:
                log.warning("subscription lost", queue=self._queue, reason=repr(error))
                self._stopping.wait(_jittered(wait))
                wait = min(wait * 2, LONGEST_WAIT_S)
            finally:
                _close_quietly(connection)
        self._work.put(None)

    def _consume(self, connection: BlockingConnection) -> BlockingChannel:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=1)
        channel.add_on_cancel_callback(self._on_cancel)
        self._cancelled = False
        channel.basic_consume(self._queue, self._on_message)
        return channel

    def _pump(self, connection: BlockingConnection, channel: BlockingChannel) -> None:
        """Serve I/O until told to stop and the message in hand is acknowledged, or the broker takes consumer or channel
        away, as it does when a message stays unacknowledged for longer than its `consumer_timeout`."""
        while not (self._stopping.is_set() and self._idle.is_set()):
            connection.process_data_events(IDLE_S if not self._stopping.is_set() else 0.05)
            if self._cancelled or not channel.is_open:
                log.warning("consumer or channel closed by the broker", queue=self._queue)
                return
        connection.process_data_events(0)

    def _on_cancel(self, _method: Any) -> None:
        self._cancelled = True

    def _on_message(self, channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        if self._stopping.is_set():
            channel.basic_nack(method.delivery_tag, requeue=True)
            return
        self._idle.clear()
        self._work.put(_Delivery(channel, method.delivery_tag, _envelope(properties, body)))

    def _handle_all(self) -> None:
        while (delivery := self._work.get()) is not None:
            try:
                self._deliver(delivery.envelope)
                answer = partial(delivery.channel.basic_ack, delivery.tag)
            except Exception:  # the contract: whatever a handler raises, its message is delivered again
                log.exception("delivery failed", queue=self._queue, message=delivery.envelope.id)
                answer = partial(delivery.channel.basic_nack, delivery.tag, requeue=True)
            self._answer(delivery, answer)

    def _answer(self, delivery: _Delivery, answer: Callable[[], None]) -> None:
        """Acknowledge from the I/O thread, if the channel still lives; a dead channel's tag must not be sent."""

        def send() -> None:
            if delivery.channel.is_open:
                answer()
            self._idle.set()

        try:
            delivery.channel.connection.add_callback_threadsafe(send)
        except (AMQPError, OSError) as error:
            log.warning("acknowledgement dropped", queue=self._queue, reason=repr(error))
            self._idle.set()


def _parameters(url: str) -> pika.URLParameters:
    try:
        parameters = pika.URLParameters(url)
    except ValueError:  # it quotes a part of the URL, which may be one of a secret
        told = "PRIMITIVES_BUS_URL is no URL of a broker; write / # ? @ and : of a password as %2F %23 %3F %40 and %3A"
        raise InvalidInput(told) from None
    parameters.heartbeat = HEARTBEAT_S
    parameters.blocked_connection_timeout = BLOCKED_LIMIT_S
    parameters.connection_attempts = 1
    parameters.socket_timeout = 5.0
    return parameters


def _publish(
    channel: BlockingChannel,
    *,
    envelope: Envelope,
    exchange: str,
    routing_key: str,
    mandatory: bool = False,
    reason: str = "",
) -> None:
    told = {"reason": reason, "traceparent": envelope.traceparent}
    headers = {"attempt": envelope.attempt} | {name: value for name, value in told.items() if value}
    properties = pika.BasicProperties(
        content_type="application/json",
        delivery_mode=pika.DeliveryMode.Persistent.value,
        message_id=envelope.id,
        type=envelope.type,
        headers=headers,
    )
    channel.basic_publish(exchange, routing_key, envelope.body.encode(), properties, mandatory=mandatory)


def _waiting(channel: BlockingChannel, queue_name: str) -> int:
    try:
        return int(channel.queue_declare(queue_name, passive=True).method.message_count)
    except ChannelClosedByBroker as error:
        if error.reply_code == NO_SUCH_QUEUE:
            raise NotFound(f"there is no queue {queue_name!r}") from error
        raise


def _envelope(properties: Any, body: bytes) -> Envelope:
    headers = properties.headers or {}
    return Envelope(
        type=properties.type or "",
        body=body.decode(errors="replace"),
        id=properties.message_id or "",
        attempt=_attempt(headers.get("attempt")),
        traceparent=str(headers.get("traceparent", "")),
    )


def _attempt(header: Any) -> int:
    """The attempt that a header counts; 1 where another sender wrote none, or nonsense."""
    return header if isinstance(header, int) and header > 0 else 1


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1.5)


def _close_quietly(thing: Any) -> None:
    """Close a channel's connection, or a connection, that may be broken already."""
    connection = getattr(thing, "connection", thing)
    if connection is None or not connection.is_open:
        return
    try:
        connection.close()
    except (AMQPError, OSError) as error:
        log.debug("closing a broken connection", reason=repr(error))
