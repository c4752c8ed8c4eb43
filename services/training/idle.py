"""Ends a worker that was started for the jobs in a queue when no more jobs arrive."""

import threading
from collections.abc import Callable
from typing import Any

Handler = Callable[[Any], None]
Watch = Callable[[Handler], Handler]


def unwatched(handler: Handler) -> Handler:
    """Return the handler unchanged."""
    return handler


class IdleEnd:
    """Sets an event when no handler has worked for `limit_s` seconds. The time begins at `start`, because opening the
    ports may take longer."""

    def __init__(self, limit_s: float, over: threading.Event) -> None:
        self._limit_s, self._over = limit_s, over
        self._lock = threading.Lock()
        self._working = False
        self._timer: threading.Timer | None = None

    def start(self) -> None:
        """Start the timer, unless a job has arrived already."""
        with self._lock:
            self._count()

    def stop(self) -> None:
        """Stop the timer."""
        with self._lock:
            self._cancel()

    def watched(self, handler: Handler) -> Handler:
        """Wrap a handler so that the timer does not run while it works. If the time ends just when a handler begins, it
        finds the service stopping, and its message is delivered again."""

        def handle(content: Any) -> None:
            with self._lock:
                self._working = True
                self._cancel()
            try:
                handler(content)
            finally:
                with self._lock:
                    self._working = False
                    self._count()

        return handle

    def _count(self) -> None:
        self._cancel()
        if not self._working:
            self._timer = threading.Timer(self._limit_s, self._over.set)
            self._timer.daemon = True
            self._timer.start()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
