"""The embedded bus: queues in memory, one thread per subscription. Messages end with the process."""

import threading
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from services.common.bus.messages import Envelope
from services.common.bus.port import Deliver, Depth, Parked
from services.common.errors import NotFound, Unavailable
from services.common.observability.logs import get_logger

log = get_logger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 10.0
"""The wait before a message whose delivery failed is delivered again. It doubles each time."""


class MemoryBus:
    """Implements `Bus`."""

    durable = False

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queues: dict[str, deque[Envelope]] = {}
        self._bound: defaultdict[str, list[str]] = defaultdict(list)
        self._parked: defaultdict[str, list[Parked]] = defaultdict(list)
        self._threads: list[threading.Thread] = []
        self._delivering = True
        self._closed = False

    def declare(self, queue: str, types: Sequence[str]) -> None:
        with self._changed:
            self._queues.setdefault(queue, deque())
            for type_ in types:
                if queue not in self._bound[type_]:
                    self._bound[type_].append(queue)

    def publish(self, envelope: Envelope) -> None:
        with self._changed:
            self._refuse_if_closed()
            for queue in self._bound[envelope.type]:
                self._queues[queue].append(envelope)
            self._changed.notify_all()

    def send(self, queue: str, envelope: Envelope) -> None:
        with self._changed:
            self._refuse_if_closed()
            self._declared(queue).append(envelope)
            self._changed.notify_all()

    def subscribe(self, queue: str, deliver: Deliver) -> None:
        with self._changed:
            self._declared(queue)
            thread = threading.Thread(target=self._serve, args=(queue, deliver), name=f"bus:{queue}", daemon=True)
            self._threads.append(thread)
        thread.start()

    def park(self, queue: str, envelope: Envelope, reason: str) -> None:
        with self._changed:
            self._parked[queue].append(Parked(envelope, reason, datetime.now(UTC)))

    def parked(self, queue: str, most: int | None = None) -> list[Parked]:
        with self._changed:
            return self._parked[queue][:most]

    def replay(self, queue: str, ids: Collection[str]) -> list[str]:
        with self._changed:
            found = self._unpark(queue, ids)
            self._declared(queue).extend(replace(envelope, attempt=1) for envelope in found)
            self._changed.notify_all()
        return [envelope.id for envelope in found]

    def discard(self, queue: str, ids: Collection[str]) -> list[str]:
        with self._changed:
            return [envelope.id for envelope in self._unpark(queue, ids)]

    def depth(self, queue: str) -> Depth:
        with self._changed:
            return Depth(len(self._declared(queue)), len(self._parked[queue]))

    def stop_deliveries(self) -> None:
        with self._changed:
            self._delivering = False
            self._changed.notify_all()

    def drain(self) -> None:
        self.stop_deliveries()
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        self.drain()
        with self._changed:
            self._closed = True

    def _serve(self, queue: str, deliver: Deliver) -> None:
        wait = FIRST_WAIT_S
        while (envelope := self._next(queue)) is not None:
            try:
                deliver(envelope)
                wait = FIRST_WAIT_S
            except Exception:  # the contract: a message is delivered again after any error
                log.exception("delivery failed", queue=queue, message=envelope.id)
                with self._changed:
                    self._queues[queue].appendleft(envelope)
                    self._changed.wait_for(lambda: not self._delivering, wait)
                wait = min(wait * 2, LONGEST_WAIT_S)

    def _next(self, queue: str) -> Envelope | None:
        with self._changed:
            waiting = self._queues[queue]
            self._changed.wait_for(lambda: waiting or not self._delivering)
            return waiting.popleft() if self._delivering else None

    def _unpark(self, queue: str, ids: Collection[str]) -> list[Envelope]:
        messages = self._parked[queue]
        self._parked[queue] = [one for one in messages if one.envelope.id not in ids]
        return [one.envelope for one in messages if one.envelope.id in ids]

    def _declared(self, queue: str) -> deque[Envelope]:
        if queue not in self._queues:
            raise NotFound(f"queue {queue!r} was not declared; the queues are {sorted(self._queues)}")
        return self._queues[queue]

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise Unavailable("the bus is closed and accepts no more messages")
