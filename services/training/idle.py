"""The end of a worker that was started for the jobs in a queue: it leaves when there are none any more."""

import threading
from collections.abc import Callable
from typing import Any

Handler = Callable[[Any], None]
Watch = Callable[[Handler], Handler]


def unwatched(handler: Handler) -> Handler:
    """The handler as it is."""
    return handler


class IdleEnd:
    """Sets an event once no handler has been at work for `limit_s` seconds. The time runs from `start` on: opening the
    ports may take longer."""

    def __init__(self, limit_s: float, over: threading.Event) -> None:
        self._limit_s, self._over = limit_s, over
        self._lock = threading.Lock()
        self._working = False
        self._timer: threading.Timer | None = None

    def start(self) -> None:
        """Begin to count, unless a job has come already."""
        with self._lock:
            self._count()

    def stop(self) -> None:
        """Count no more."""
        with self._lock:
            self._cancel()

    def watched(self, handler: Handler) -> Handler:
        """The handler, during which nothing ends. One that begins just as the time is over finds the service stopping,
        and gives its message back."""

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
