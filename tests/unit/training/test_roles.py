"""The queues that a process of the training service consumes by its role, and the end of a worker."""

import threading
from pathlib import Path
from typing import Any

import pytest

from services.common.bus import MemoryBus
from services.common.errors import InvalidInput
from services.common.settings import Shared
from services.training.idle import IdleEnd
from services.training.main import create
from services.training.settings import TrainingSettings

LIMIT_S = 10.0
SHORT_S = 0.2


class DurableBus(MemoryBus):
    """A bus in memory that claims, like RabbitMQ, that other processes see its queues."""

    durable = True


def settings(home: Path, role: str) -> TrainingSettings:
    """Settings of a role on free ports."""
    changes: dict[str, Any] = {"shared": Shared(home=home), "http_port": 0, "grpc_port": 0, "role": role}
    return TrainingSettings(**changes)


@pytest.mark.parametrize(
    ("role", "queues", "runners"),
    [
        ("all", ["training.jobs", "training.events"], ["services.training.job"]),
        ("front", ["training.events"], []),
        ("worker", ["training.jobs"], ["services.training.job"]),
    ],
)
def test_the_role_determines_the_queues(role: str, queues: list[str], runners: list[str], tmp_path: Path) -> None:
    """A front consumes no jobs and has no child. A worker consumes only jobs."""
    service = create(settings(tmp_path, role), DurableBus())
    try:
        assert [consumer.queue for consumer in service.consumers] == queues
        assert list(service.runners) == runners
    finally:
        service.http.stop()
        service.grpc.stop()
        service.ports.records.close()


def test_a_bus_in_memory_allows_only_the_role_all(tmp_path: Path) -> None:
    """A front in the embedded form is refused: its jobs would never be performed."""
    with pytest.raises(InvalidInput, match="one process must do all"):
        create(settings(tmp_path, "front"), MemoryBus())


def test_a_worker_without_jobs_ends() -> None:
    """The time begins at the start of the service, not before."""
    over = threading.Event()
    idle = IdleEnd(SHORT_S, over)
    assert not over.wait(SHORT_S * 2)
    idle.start()
    assert over.wait(LIMIT_S)


def test_a_worker_at_work_does_not_end() -> None:
    """The time does not run during a job, even if the job arrived before the service had started. It begins again after
    a job, also after a failed one."""
    over, ended_meanwhile = threading.Event(), []
    idle = IdleEnd(SHORT_S, over)

    def job(_: object) -> None:
        idle.start()
        ended_meanwhile.append(over.wait(SHORT_S * 3))
        raise InvalidInput("the job failed")

    with pytest.raises(InvalidInput, match="the job failed"):
        idle.watched(job)(None)
    assert ended_meanwhile == [False]
    assert over.wait(LIMIT_S)


def test_a_stopped_worker_has_no_timer() -> None:
    """The event is not set after the service has stopped."""
    over = threading.Event()
    idle = IdleEnd(SHORT_S, over)
    idle.start()
    idle.stop()
    assert not over.wait(SHORT_S * 3)
