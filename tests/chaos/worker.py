"""A service (CHAOS_SERVICE) that kills itself when it passes a place for the n-th time (CHAOS_POINT=place:n).

There is a place on both sides of every commit of the supervisor: of a transaction, of a message's confirm, of its
acknowledgement. Tests kill its children, which commit objects, from outside. CHAOS_AHEAD_S sets its clock ahead.
"""

import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from services.common.bus import consumer
from services.common.bus.rabbit import RabbitBus
from services.common.records import Records, types

POINTS = (
    "before_publish:20",
    "after_publish:40",
    "before_commit:7",
    "after_commit:11",
    "before_handling:6",
    "before_acknowledging:9",
)
"""The points in the order of the ledger, in which most commands are published first."""


class Point:
    """Counts how often a place is passed, and kills the process at the n-th time."""

    def __init__(self, options: str) -> None:
        self.name, _, count = options.partition(":")
        self._left = int(count or 0)
        self._lock = threading.Lock()

    def passed(self, name: str) -> None:
        """Kill the process if this is the n-th pass of its place."""
        if name == self.name:
            with self._lock:
                self._left -= 1
                if self._left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)


def install(point: Point) -> None:
    """Wrap the methods of the running code with the places."""
    transaction, send, deliver = Records.transaction, RabbitBus.send, consumer.Consumer._deliver

    @contextmanager
    def counted_transaction(self: Records) -> Iterator[Session]:
        with transaction(self) as session:
            yield session
            point.passed("before_commit")
        point.passed("after_commit")

    def counted_send(self: RabbitBus, *arguments: Any) -> None:
        point.passed("before_publish")
        send(self, *arguments)
        point.passed("after_publish")

    def counted_delivery(self: consumer.Consumer, envelope: Any) -> None:
        point.passed("before_handling")
        deliver(self, envelope)
        point.passed("before_acknowledging")

    Records.transaction = counted_transaction  # type: ignore[method-assign]
    RabbitBus.send = counted_send  # type: ignore[method-assign]
    consumer.Consumer._deliver = counted_delivery  # type: ignore[method-assign]


def set_clock_ahead(seconds: float) -> None:
    """Make `now` return a later time in every module that has imported it."""
    real = types.now
    for module in list(sys.modules.values()):
        if getattr(module, "now", None) is real:
            module.__dict__["now"] = lambda: real() + timedelta(seconds=seconds)


def main() -> None:
    """Run the service until it is stopped or kills itself."""
    install(Point(os.environ.get("CHAOS_POINT", "")))
    service = os.environ.get("CHAOS_SERVICE", "activation_extraction")
    run: Callable[[], None] = importlib.import_module(f"services.{service}.main").main
    set_clock_ahead(float(os.environ.get("CHAOS_AHEAD_S", "0")))
    run()


if __name__ == "__main__":
    sys.exit(main())
