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
    """Sets an event once no handler has been at work for `limit_s` seconds."""

    def __init__(self, limit_s: float, over: threading.Event) -> None:
        self._limit_s, self._over = limit_s, over
        self._timer = self._begin()

    def watched(self, handler: Handler) -> Handler:
        """The handler, during which nothing ends. One that begins just as the time is over finds the service stopping,
        and gives its message back."""

        def handle(content: Any) -> None:
            self._timer.cancel()
            try:
                handler(content)
            finally:
                self._timer = self._begin()

        return handle

    def _begin(self) -> threading.Timer:
        timer = threading.Timer(self._limit_s, self._over.set)
        timer.daemon = True
        timer.start()
        return timer
