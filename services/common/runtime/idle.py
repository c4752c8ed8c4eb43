"""Ends a worker that was started for the messages in a queue."""

import threading
import time

from services.common.bus import Deliver, Envelope
from services.common.observability.logs import get_logger

log = get_logger(__name__)


class IdleEnd:
    """Sets an event when a worker has had no message for `idle_s` seconds, or when it has processed a message after
    its turn of `turn_s` seconds (0: its turn does not end). The time begins at `start`, because opening the ports may
    take longer."""

    def __init__(self, idle_s: float, turn_s: float, over: threading.Event) -> None:
        self._idle_s, self._turn_s, self._over = idle_s, turn_s, over
        self._lock = threading.Lock()
        self._working = False
        self._began = time.monotonic()
        self._timer: threading.Timer | None = None

    def start(self) -> None:
        """Start the timer, unless a message has arrived already."""
        with self._lock:
            self._began = time.monotonic()
            self._count()

    def stop(self) -> None:
        """Stop the timer."""
        with self._lock:
            self._cancel()

    def watched(self, deliver: Deliver) -> Deliver:
        """Wrap a consumer of messages so that the timer does not run while it has one, also while it waits for a store.
        If the time ends just when a message arrives, the service is stopping, and the message is delivered again."""

        def watch(envelope: Envelope) -> None:
            with self._lock:
                self._working = True
                self._cancel()
            try:
                deliver(envelope)
            finally:
                with self._lock:
                    self._working = False
                    self._count()
                    if self._turn_s and time.monotonic() - self._began >= self._turn_s:
                        self._end(f"its turn of {self._turn_s:g} s is over")

        return watch

    def _count(self) -> None:
        self._cancel()
        if not self._working:
            self._timer = threading.Timer(self._idle_s, self._end, (f"it has had no message for {self._idle_s:g} s",))
            self._timer.daemon = True
            self._timer.start()

    def _end(self, reason: str) -> None:
        log.info("worker ends", reason=reason)
        self._over.set()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
