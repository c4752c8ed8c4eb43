"""A worker starts only if a message waits for it."""

import os
import subprocess
import sys
from typing import Any

import pytest

from services.common.bus import Envelope, MemoryBus
from services.common.errors import Unavailable
from services.common.runtime import worker

QUEUE, MODULE = "training.jobs", "services.training.main"


class AwayBus(MemoryBus):
    """A bus whose broker does not answer."""

    def depth(self, queue: str) -> Any:
        """Raise Unavailable."""
        raise Unavailable(f"{queue} is away")


def started(bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Run a worker over a bus. Return the commands that have replaced its process."""
    commands: list[list[str]] = []
    monkeypatch.setattr(worker, "open_bus", lambda _: bus)
    monkeypatch.setattr(os, "execv", lambda _, command: commands.append(command))
    monkeypatch.setattr(sys, "argv", ["worker", QUEUE, MODULE])
    worker.main()
    return commands


def test_a_worker_starts_for_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a message waits, the service takes the place of the process."""
    bus = MemoryBus()
    bus.declare(QUEUE, [])
    bus.send(QUEUE, Envelope("x", "{}"))
    assert started(bus, monkeypatch) == [[sys.executable, "-m", MODULE]]


def test_a_worker_without_a_message_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker has done the work while this one waited for a GPU."""
    bus = MemoryBus()
    bus.declare(QUEUE, [])
    assert started(bus, monkeypatch) == []


@pytest.mark.parametrize("bus", [MemoryBus(), AwayBus()], ids=["no queue", "no broker"])
def test_a_worker_starts_if_it_cannot_count(bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that does not exist yet is declared by the service, which also waits for the broker."""
    assert started(bus, monkeypatch) == [[sys.executable, "-m", MODULE]]


def test_the_count_needs_no_network() -> None:
    """Counting imports neither torch nor FastAPI: they take seconds of a GPU that others wait for."""
    loaded = (
        "import sys, services.common.runtime.worker as _; print([m for m in ('torch', 'fastapi') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
