"""The deployed bus: RabbitMQ through pika.

pika is not thread-safe, and its heartbeats stop while a callback runs. So each connection belongs to one thread that
does only I/O: one for the publisher, and one per subscription, whose handlers run in a separate worker thread. A
message is acknowledged on the channel that delivered it or not at all: after a reconnect the broker delivers it again.
"""

from collections.abc import Collection, Sequence
from functools import partial

from pika.adapters.blocking_connection import BlockingChannel

from services.common.bus.amqp import (
    EXCHANGE,
    PARKED,
    QUORUM,
    connection_parameters,
    publish_envelope,
    waiting_messages,
)
from services.common.bus.messages import Envelope
from services.common.bus.parking import discard_parked, read_parked, replay_parked
from services.common.bus.port import Deliver, Depth, Parked
from services.common.bus.publisher import Publisher
from services.common.bus.subscription import Subscription

DEPTH_LIMIT_S = 3.0


class RabbitBus:
    """Implements `Bus`. `urls` are AMQP URLs of the broker's nodes; one that answers is enough."""

    durable = True

    def __init__(self, urls: Sequence[str]) -> None:
        self._parameters = [connection_parameters(url) for url in urls]
        self._publisher = Publisher(self._parameters)
        self._subscriptions: list[Subscription] = []

    def declare(self, queue: str, types: Sequence[str]) -> None:
        def make(channel: BlockingChannel) -> None:
            for name in (queue, queue + PARKED):
                channel.queue_declare(name, durable=True, arguments=QUORUM)
            for type_ in types:
                channel.queue_bind(queue, EXCHANGE, routing_key=type_)

        self._publisher.do(make)

    def publish(self, envelope: Envelope) -> None:
        # Not mandatory: an event may have no subscriber. Queues are bound before any service starts.
        self._publisher.do(partial(publish_envelope, envelope=envelope, exchange=EXCHANGE, routing_key=envelope.type))

    def send(self, queue: str, envelope: Envelope) -> None:
        self._publisher.do(partial(publish_envelope, envelope=envelope, exchange="", routing_key=queue, mandatory=True))

    def subscribe(self, queue: str, deliver: Deliver) -> None:
        subscription = Subscription(self._parameters, queue, deliver)
        self._subscriptions.append(subscription)
        subscription.start()

    def park(self, queue: str, envelope: Envelope, reason: str) -> None:
        send = partial(
            publish_envelope, envelope=envelope, exchange="", routing_key=queue + PARKED, mandatory=True, reason=reason
        )
        self._publisher.do(send)

    def parked(self, queue: str, most: int | None = None) -> list[Parked]:
        found: list[Parked] = self._publisher.do(partial(read_parked, queue=queue, most=most))
        return found

    def replay(self, queue: str, ids: Collection[str]) -> list[str]:
        done: list[str] = []  # outlives a connection that breaks, after which the rest is done on a new one
        self._publisher.do(partial(replay_parked, queue=queue, ids=ids, done=done))
        return list(dict.fromkeys(done))

    def discard(self, queue: str, ids: Collection[str]) -> list[str]:
        done: list[str] = []
        self._publisher.do(partial(discard_parked, queue=queue, ids=ids, done=done))
        return list(dict.fromkeys(done))

    def depth(self, queue: str) -> Depth:
        def count(channel: BlockingChannel) -> Depth:
            return Depth(*(waiting_messages(channel, name) for name in (queue, queue + PARKED)))

        found: Depth = self._publisher.do(count, DEPTH_LIMIT_S)
        return found

    def stop_deliveries(self) -> None:
        for subscription in self._subscriptions:
            subscription.stop()

    def drain(self) -> None:
        self.stop_deliveries()
        for subscription in self._subscriptions:
            subscription.join()

    def close(self) -> None:
        self.drain()
        self._publisher.close()
