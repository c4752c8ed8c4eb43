"""What a process of training or activation extraction does in each role."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from primitives.activation_extraction.v1 import events_pb2 as extraction_events
from primitives.training.v1 import events_pb2 as training_events

from services.activation_extraction import main as activation_extraction
from services.activation_extraction.settings import ExtractionSettings
from services.common.bus import MemoryBus, encode
from services.common.errors import InvalidInput
from services.common.runtime.service import Service
from services.common.settings import ComputeSettings, Shared
from services.training import main as training
from services.training.settings import TrainingSettings

TRAINING = ("training.jobs", "training.plain_jobs", "training.events")
EXTRACTION = ("activation_extraction.jobs", "activation_extraction.merges", "activation_extraction.events")
SERVICES: dict[str, tuple[type[ComputeSettings], Callable[[Any, Any], Service], tuple[str, ...]]] = {
    "training": (TrainingSettings, training.create, TRAINING),
    "activation_extraction": (ExtractionSettings, activation_extraction.create, EXTRACTION),
}
LIMIT_S = 30.0
PARTS = {"all": (0, 1, 2), "front": (2,), "worker": (0,), "plain-worker": (1,)}
"""The queues of each role: those of jobs, of plain jobs, of events."""


class DurableBus(MemoryBus):
    """A bus in memory that claims, like RabbitMQ, that other processes see its queues."""

    durable = True


@contextmanager
def service_in(name: str, role: str, home: Path, bus: MemoryBus) -> Iterator[Service]:
    """Create a service in a role, on free ports. It is not started."""
    kind, create, _ = SERVICES[name]
    changes: dict[str, Any] = {"shared": Shared(home=home), "http_port": 0, "grpc_port": 0, "role": role}
    service = create(kind(**changes), bus)
    try:
        yield service
    finally:
        service.stop()
        bus.close()
        service.ports.records.close()


@pytest.mark.parametrize("role", PARTS)
@pytest.mark.parametrize("name", SERVICES)
def test_the_role_determines_the_queues(name: str, role: str, tmp_path: Path) -> None:
    """A front consumes only events and has no child for jobs. A worker consumes one queue of jobs, and nothing else.
    Every process knows all queues: their depths and parked messages."""
    queues = SERVICES[name][2]
    with service_in(name, role, tmp_path, DurableBus()) as service:
        assert [consumer.queue for consumer in service.consumers] == [queues[part] for part in PARTS[role]]
        assert list(service.runners) == ([] if role == "front" else [f"services.{name}.job"])
        assert [service.ports.bus.depth(queue).waiting for queue in queues] == [0, 0, 0]


@pytest.mark.parametrize("role", ["front", "worker", "plain-worker"])
@pytest.mark.parametrize("name", SERVICES)
def test_a_bus_in_memory_allows_only_the_role_all(name: str, role: str, tmp_path: Path) -> None:
    """In the embedded form another role is refused: some of the work would never be performed."""
    prefix = SERVICES[name][0].model_config["env_prefix"]
    with (
        pytest.raises(InvalidInput, match=f"{prefix}ROLE is '{role}'; on memory:// one process must do all"),
        service_in(name, role, tmp_path, MemoryBus()),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("training", training_events.BuildDataset(build_id="build-1")),
        ("activation_extraction", extraction_events.MergeExtraction(extraction_id="extraction-1")),
        ("activation_extraction", extraction_events.MergeAnalysis(analysis_id="analysis-1")),
    ],
    ids=lambda value: value if isinstance(value, str) else value.DESCRIPTOR.name,
)
def test_a_worker_handles_what_earlier_versions_enqueued(name: str, message: Any, tmp_path: Path) -> None:
    """Plain jobs that an earlier version has put among the jobs, also during a rolling update, reach their handlers."""
    jobs = SERVICES[name][2][0]
    with service_in(name, "worker", tmp_path, DurableBus()) as service:
        bus = service.ports.bus
        bus.send(jobs, encode(message))
        [consumer] = service.consumers
        consumer.start()
        bus.drain()
        parked = bus.parked(jobs)
    assert [one.reason for one in parked if "no handler" in one.reason] == []
    assert "there is no" in parked[0].reason, "the handler has looked for the record"


@pytest.mark.parametrize("name", SERVICES)
def test_a_front_answers_while_nothing_consumes_jobs(name: str, tmp_path: Path) -> None:
    """It is ready, and its status has the queues of jobs, whose messages wait for workers."""
    bus = DurableBus()
    with service_in(name, "front", tmp_path, bus) as service:
        queues = SERVICES[name][2]
        for queue in queues[:2]:
            bus.send(queue, encode(training_events.BuildDataset(build_id="build-1")))
        service.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{service.http.port}", timeout=30) as client:
            assert client.get("/healthz").status_code == 200
            deadline, listed = time.monotonic() + LIMIT_S, []
            while not listed and time.monotonic() < deadline:  # until the broker has been probed
                listed = client.get("/v1/status").raise_for_status().json()["queues"]
        assert {queue["name"]: queue["waiting"] for queue in listed} == dict(zip(queues, (1, 1, 0), strict=True))
