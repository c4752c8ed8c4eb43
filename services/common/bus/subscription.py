"""The connection of one subscription to a queue of RabbitMQ."""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import AMQPError

from services.common.bus.amqp import FIRST_RECONNECT_S, LONGEST_RECONNECT_S, close_quietly, jittered, read_envelope
from services.common.bus.messages import Envelope
from services.common.bus.port import Deliver
from services.common.observability.logs import get_logger

log = get_logger(__name__)

IDLE_S = 1.0


@dataclass(frozen=True)
class _Delivery:
    """A delivered message, and the only channel on which it may be acknowledged."""

    channel: BlockingChannel
    tag: int
    envelope: Envelope


class Subscription:
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
        """Accept no more messages; the current one is finished and acknowledged."""
        self._stopping.set()

    def join(self) -> None:
        self._io.join()
        self._worker.join()

    def _serve(self) -> None:
        wait = FIRST_RECONNECT_S
        while not self._stopping.is_set():
            connection: BlockingConnection | None = None
            try:
                connection = BlockingConnection(self._parameters)
                channel = self._consume(connection)
                wait = FIRST_RECONNECT_S
                self._pump(connection, channel)
            except (AMQPError, OSError) as error:
                log.warning("subscription lost", queue=self._queue, reason=repr(error))
                self._stopping.wait(jittered(wait))
                wait = min(wait * 2, LONGEST_RECONNECT_S)
            finally:
                close_quietly(connection)
        self._work.put(None)

    def _consume(self, connection: BlockingConnection) -> BlockingChannel:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=1)
        channel.add_on_cancel_callback(self._on_cancel)
        self._cancelled = False
        channel.basic_consume(self._queue, self._on_message)
        return channel

    def _pump(self, connection: BlockingConnection, channel: BlockingChannel) -> None:
        """Serve I/O until `stop` was called and the current message is acknowledged, or the broker closes the consumer
        or the channel, as it does if a message stays unacknowledged for longer than its `consumer_timeout`."""
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
        self._work.put(_Delivery(channel, method.delivery_tag, read_envelope(properties, body)))

    def _handle_all(self) -> None:
        wait = FIRST_RECONNECT_S
        while (delivery := self._work.get()) is not None:
            try:
                self._deliver(delivery.envelope)
                answer = partial(delivery.channel.basic_ack, delivery.tag)
                wait = FIRST_RECONNECT_S
            except Exception:  # the contract: a message is delivered again after any error
                log.exception("delivery failed", queue=self._queue, message=delivery.envelope.id)
                answer = partial(delivery.channel.basic_nack, delivery.tag, requeue=True)
                # The broker delivers it again at once. Without a wait, one that accepts nothing would count twenty
                # deliveries within seconds, after which a quorum queue may drop the message.
                self._stopping.wait(jittered(wait))
                wait = min(wait * 2, LONGEST_RECONNECT_S)
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
