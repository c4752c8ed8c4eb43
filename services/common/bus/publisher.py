"""The connection of a process that publishes to RabbitMQ."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import AMQPError, NackError, UnroutableError

from services.common.bus.amqp import (
    BLOCKED_LIMIT_S,
    EXCHANGE,
    FIRST_RECONNECT_S,
    HEARTBEAT_S,
    LONGEST_RECONNECT_S,
    close_quietly,
    jittered,
)
from services.common.errors import NotFound, Unavailable
from services.common.observability.logs import get_logger

log = get_logger(__name__)

PUBLISH_LIMIT_S = 30.0

Request = tuple[Callable[[BlockingChannel], Any], "Future[Any]"]


class Publisher:
    """A connection of its own with publisher confirms. Callers wait until their request is confirmed."""

    def __init__(self, parameters: Sequence[pika.ConnectionParameters]) -> None:
        self._parameters = parameters
        self._requests: queue.Queue[Request | None] = queue.Queue()
        self._closed = False
        self._channel: BlockingChannel | None = None
        self._thread = threading.Thread(target=self._serve, name="bus:publish", daemon=True)
        self._thread.start()

    def do(self, work: Callable[[BlockingChannel], Any], limit_s: float = PUBLISH_LIMIT_S + BLOCKED_LIMIT_S) -> Any:
        """Run `work` on the channel, and again on a new connection if one breaks.

        Unavailable after the time limit; work that has not begun by then never runs.
        """
        if self._closed:
            raise Unavailable("the bus is closed and accepts no more messages")
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
            return  # the caller has stopped waiting
        deadline = time.monotonic() + PUBLISH_LIMIT_S
        wait = FIRST_RECONNECT_S
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
                time.sleep(jittered(wait))
                wait = min(wait * 2, LONGEST_RECONNECT_S)
            except Exception as error:  # a defect is raised in the caller, and must not end this thread
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
        close_quietly(channel)
