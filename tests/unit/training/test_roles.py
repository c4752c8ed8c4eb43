"""What a process of the training service takes, by its role, and when a worker ends."""

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
    """Says of itself what RabbitMQ does: other processes see its queues."""

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
def test_a_role_says_which_queues_are_taken(role: str, queues: list[str], runners: list[str], tmp_path: Path) -> None:
    """A front leaves jobs, and the child that would do them, to workers; a worker takes nothing else."""
    service = create(settings(tmp_path, role), DurableBus())
    try:
        assert [consumer.queue for consumer in service.consumers] == queues
        assert list(service.runners) == runners
    finally:
        service.http.stop()
        service.grpc.stop()
        service.ports.records.close()


def test_a_bus_of_one_process_leaves_no_jobs_to_others(tmp_path: Path) -> None:
    """A front in the embedded form is refused: nobody would do its jobs."""
    with pytest.raises(InvalidInput, match="one process has to do all"):
        create(settings(tmp_path, "front"), MemoryBus())


def test_a_worker_without_jobs_ends() -> None:
    """The time runs from the start of the service, not from before."""
    over = threading.Event()
    idle = IdleEnd(SHORT_S, over)
    assert not over.wait(SHORT_S * 2)
    idle.start()
    assert over.wait(LIMIT_S)


def test_a_worker_at_work_does_not_end() -> None:
    """While a job goes on the time stands still, also if it came before the service had started; after it, also after
    one that failed, the time runs anew."""
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


def test_a_stopped_worker_counts_no_more() -> None:
    """Nothing ends a service a second time."""
    over = threading.Event()
    idle = IdleEnd(SHORT_S, over)
    idle.start()
    idle.stop()
    assert not over.wait(SHORT_S * 3)
