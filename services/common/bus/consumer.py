"""Turns messages into calls of handlers, and the errors of handlers into acknowledge, retry or park."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from google.protobuf import message
from opentelemetry.trace import SpanKind

from services.common.bus.messages import Envelope, decode, ids_of
from services.common.bus.port import Bus, Replay
from services.common.errors import Busy, InvalidInput, JobCrashed, LeaseLost, PrimitivesError, Unavailable
from services.common.observability.logs import get_logger, log_scope
from services.common.observability.metrics import MESSAGES
from services.common.observability.tracing import span
from services.common.redaction import redacted

log = get_logger(__name__)

M = TypeVar("M", bound=message.Message)

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 15.0
"""The wait before a message is sent again. It doubles with each attempt, or with each message that meets a service that
is away."""
DEFER_S = 2.0


class Consumer:
    """One queue of a service, with one handler per message type.

    A message is acknowledged when its handler returns. After Unavailable the consumer pauses, and the message is sent
    again: it says nothing about the message, so no attempt is counted, however long records, store or broker are away.
    After JobCrashed it is sent again with its attempt counted, until `max_attempts`. Then, and after any other error,
    `on_parked` may record the failure, and the message is parked. Busy defers the message. LeaseLost acknowledges it:
    the process that took over the lease handles it.
    """

    def __init__(self, bus: Bus, queue: str, max_attempts: int) -> None:
        self.queue = queue
        self._bus = bus
        self._max_attempts = max_attempts
        self._handlers: dict[str, tuple[Callable[[Any], None], Callable[[Any, str], None] | None]] = {}
        self._on_replay: dict[str, Callable[[Any], Replay]] = {}
        self._stopping = threading.Event()
        self._away = 0
        """Messages in succession that met Unavailable."""

    def on(
        self,
        kind: type[M],
        handler: Callable[[M], None],
        on_parked: Callable[[M, str], None] | None = None,
        on_replay: Callable[[M], Replay] | None = None,
    ) -> None:
        """Call `handler` with every message of a type, and `on_parked(message, reason)` before one is parked.

        `on_replay` is called before a parked one is sent again, and takes back what `on_parked` has recorded.
        """
        self._handlers[kind.DESCRIPTOR.full_name] = (handler, on_parked)
        if on_replay is not None:
            self._on_replay[kind.DESCRIPTOR.full_name] = on_replay

    def prepare_replay(self, envelope: Envelope) -> Replay:
        """Take back what the parking of a message has recorded. Conflict if the message could have no effect."""
        on_replay = self._on_replay.get(envelope.type)
        try:
            content = decode(envelope)
        except InvalidInput as error:
            return Replay(True, f"The message is sent again. It is parked again if it still cannot be read: {error}")
        if on_replay is None:
            return Replay(True, f"The message is sent again. Queue {self.queue} does not expect {envelope.kind}.")
        return on_replay(content)

    def declare(self, events: tuple[type[message.Message], ...] = ()) -> None:
        """Declare the queue, bound to these events. All services declare before any of them starts to publish."""
        self._bus.declare(self.queue, [kind.DESCRIPTOR.full_name for kind in events])

    def start(self) -> None:
        """Begin to consume messages."""
        self._bus.subscribe(self.queue, self._deliver)

    def stop(self) -> None:
        """End a wait between two attempts."""
        self._stopping.set()

    def _deliver(self, envelope: Envelope) -> None:
        """Process a message within a span and a log scope of its own, and measure it."""
        service = self.queue.partition(".")[0]
        kind = envelope.kind if envelope.type in self._handlers else "unknown"
        began, outcome = time.perf_counter(), "returned"
        with (
            log_scope(**ids_of(envelope)),
            span(f"handle {kind}", service, SpanKind.CONSUMER, envelope.traceparent, message=envelope.id) as current,
        ):
            try:
                outcome = self._process(envelope)
            finally:
                current.set_attributes({"primitives.outcome": outcome, "primitives.attempt": envelope.attempt})
                seconds = time.perf_counter() - began
                MESSAGES.labels(service, self.queue, kind, outcome).observe(seconds)
                log.debug("message processed", queue=self.queue, type=kind, outcome=outcome, seconds=round(seconds, 3))

    def _process(self, envelope: Envelope) -> str:
        """Handle a message and return the outcome. If this raises, the bus delivers the message again."""
        try:
            self._handle(envelope)
        except Exception as error:  # every error has one of the outcomes below
            return self._answer(envelope, error)
        self._away = 0
        return "done"

    def _answer(self, envelope: Envelope, error: Exception) -> str:
        match error:
            case Busy():
                return self._defer(envelope, error)
            case LeaseLost():
                log.warning("result dropped", queue=self.queue, message=envelope.id, reason=str(error))
                return "dropped"
            case Unavailable():
                return self._pause(envelope, error)
            case JobCrashed():
                return self._retry_or_park(envelope, error)
            case PrimitivesError():
                return self._park(envelope, str(error))
        # A defect is parked with its name, and logged with its traceback.
        log.exception("handler failed", queue=self.queue, message=envelope.id, type=envelope.type)
        return self._park(envelope, redacted(f"{type(error).__name__}: {error}"))

    def _handle(self, envelope: Envelope) -> None:
        content = decode(envelope)
        if envelope.type not in self._handlers:
            raise PrimitivesError(f"queue {self.queue} has no handler for {envelope.type}")
        handler, _ = self._handlers[envelope.type]
        handler(content)

    def _defer(self, envelope: Envelope, error: Busy) -> str:
        """Send the message again without counting an attempt: a running job must neither run twice nor be lost."""
        log.info("deferred", queue=self.queue, message=envelope.id, reason=str(error))
        if self._stopping.wait(DEFER_S):
            raise error
        self._bus.send(self.queue, envelope)
        return "deferred"

    def _pause(self, envelope: Envelope, error: Unavailable) -> str:
        """Wait, longer each time, and send the message again with the same attempt. If the service stops meanwhile, the
        bus retains the message."""
        log.warning("waiting", queue=self.queue, message=envelope.id, reason=str(error))
        self._away += 1
        if self._stopping.wait(_wait_s(self._away)):
            raise error
        self._bus.send(self.queue, envelope)
        return "paused"

    def _retry_or_park(self, envelope: Envelope, error: JobCrashed) -> str:
        if self._stopping.is_set():
            raise error  # not an attempt: the service is stopping, and the bus retains the message
        if envelope.attempt >= self._max_attempts:
            return self._park(envelope, f"abandoned after {envelope.attempt} attempts: {error}")
        log.warning("retrying", queue=self.queue, message=envelope.id, attempt=envelope.attempt, reason=str(error))
        self._stopping.wait(_wait_s(envelope.attempt))
        self._bus.send(self.queue, replace(envelope, attempt=envelope.attempt + 1))
        return "retried"

    def _park(self, envelope: Envelope, reason: str) -> str:
        log.error("message parked", queue=self.queue, message=envelope.id, type=envelope.type, reason=reason)
        handler = self._handlers.get(envelope.type)
        if handler is not None and handler[1] is not None:
            try:
                handler[1](decode(envelope), reason)
            except Unavailable as error:
                return self._pause(envelope, error)  # the failure must be recorded before the message is parked
            except Exception as error:  # a defect must not bring the message back forever
                log.exception("failure not recorded", queue=self.queue, message=envelope.id)
                reason = f"{reason} (and the failure could not be recorded: {error})"
        self._bus.park(self.queue, envelope, reason)
        return "parked"


def _wait_s(attempt: int) -> float:
    """Return the seconds to wait before the next attempt."""
    return min(FIRST_RETRY_S * 2.0 ** min(attempt - 1, 30), LONGEST_RETRY_S)
