"""What keeps a service that does not answer from holding up its callers: a limit of concurrent calls, and a breaker."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from services.common.errors import Unavailable
from services.common.observability.logs import get_logger

log = get_logger(__name__)

MOST_FAILURES = 3
"""Consecutive calls without an answer after which the breaker opens."""
PAUSE_S = 10.0
"""Seconds for which an open breaker refuses all calls. Then it lets one call through, as a trial."""


class Breaker:
    """Counts the calls of one service. Any answer is a success; only a call without an answer is a failure.

    Refusals are Unavailable, and name the service and the reason. They take no time.
    """

    def __init__(self, name: str, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._limit, self._clock = name, limit, clock
        self._lock = threading.Lock()
        self._calls = self._failures = 0
        self._opened: float | None = None
        """When the breaker opened, or when the last trial began."""

    @contextmanager
    def call(self) -> Iterator[None]:
        """Count the call in the block. An `httpx.TransportError` that leaves the block is a failure."""
        self._begin()
        try:
            yield
        except httpx.TransportError:
            self._end(answered=False)
            raise
        except BaseException:
            self._end(answered=None)
            raise
        self._end(answered=True)

    def _begin(self) -> None:
        with self._lock:
            if self._opened is not None:
                left = self._opened + PAUSE_S - self._clock()
                if left > 0:
                    raise Unavailable(f"The {self._name} does not answer; it is called again in {left:.0f} s")
            if self._calls >= self._limit:
                raise Unavailable(f"{self._limit} calls already wait for the {self._name}; repeat this one later")
            if self._opened is not None:
                self._opened = self._clock()  # this call is the trial; the others wait for another pause
            self._calls += 1

    def _end(self, answered: bool | None) -> None:
        """Record the end of a call; None if it was abandoned, which says nothing about the service."""
        with self._lock:
            self._calls -= 1
            if answered is None:
                return
            was_open = self._opened is not None
            self._failures = 0 if answered else self._failures + 1
            self._opened = self._clock() if self._failures >= MOST_FAILURES else None
            if was_open != (self._opened is not None):
                log.warning("sibling answers again" if was_open else "sibling does not answer", service=self._name)
