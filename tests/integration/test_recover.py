"""`primitives recover` over a new broker without any messages, and services whose queues were deleted."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from deploy.local.servers import Server
from services.cli.main import app
from services.common.bus import Envelope, MemoryBus
from services.common.bus.rabbit import RabbitBus
from services.common.errors import InvalidInput
from services.common.settings import Shared
from services.training.main import open_training_ports
from services.training.schemas import RunSettings, StartRunRequest
from services.training.settings import TrainingSettings
from services.training.workflow.datasets import Datasets
from services.training.workflow.runs import Runs
from tests.fakes.data import store_dataset
from tests.servers import fresh_vhost

NO_RUNNER: Any = None
SETTINGS = RunSettings(architecture="test_resnet", weights="none", epochs=1)


def test_unfinished_work_is_enqueued_again(tmp_path: Path, rabbitmq: Server) -> None:
    """A run whose command was lost with its broker is queued on a new broker by `recover`, once per call. A bus that
    loses its messages with its process is refused."""
    shared = Shared(home=tmp_path / "home")
    lost = MemoryBus()
    lost.declare("training.jobs", [])
    ports = open_training_ports(TrainingSettings(shared=shared), lost)
    data, ref = store_dataset(ports.blobs, tmp_path / "ddsm", {"train": 3})
    Datasets(ports, NO_RUNNER).register(data.manifest, ref)
    options = StartRunRequest(dataset_id=data.manifest.dataset_id, settings=SETTINGS)
    run = Runs(ports, NO_RUNNER, TrainingSettings(shared=shared)).start(options)
    assert ports.outbox.flush() == 1
    ports.records.close()

    environment = {"PRIMITIVES_HOME": str(shared.home), "PRIMITIVES_BUS_URL": fresh_vhost(rabbitmq)}
    done = CliRunner().invoke(app, ["recover"], env=environment)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "training\t1 messages" in done.stdout
    assert "annotation\t0 messages" in done.stdout
    bus = RabbitBus([environment["PRIMITIVES_BUS_URL"]])
    bodies = bus._publisher.do(lambda channel: [channel.basic_get("training.jobs", auto_ack=True)[2] for _ in range(2)])
    bus.close()
    assert run.run_id in bodies[0].decode()
    assert bodies[1] is None

    refused = CliRunner().invoke(app, ["recover"], env=environment | {"PRIMITIVES_BUS_URL": "memory://"})
    assert isinstance(refused.exception, InvalidInput)
    assert "recover by themselves" in str(refused.exception)


@dataclass
class LogWatch:
    """A log that sets `logged` when an event is written."""

    event: str
    logged: threading.Event

    def warning(self, event: str, **_: Any) -> None:
        if event == self.event:
            self.logged.set()

    debug = info = error = exception = warning


def test_a_service_that_lost_its_queue_takes_messages_again(rabbitmq: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queues are deleted while a service consumes them. Once the service has noticed, and they are declared again as
    `recover` does, messages arrive without a restart. (RabbitMQ 3.10 does not notify consumers of a queue that is
    declared again at once, and delivers nothing.)"""
    lost = threading.Event()
    monkeypatch.setattr("services.common.bus.subscription.log", LogWatch("subscription lost", lost))
    url = fresh_vhost(rabbitmq)
    service, operator = RabbitBus([url]), RabbitBus([url])
    arrived: list[str] = []
    came = threading.Event()

    def take(envelope: Envelope) -> None:
        arrived.append(envelope.id)
        came.set()

    try:
        service.declare("lost.jobs", [])
        service.subscribe("lost.jobs", take)
        operator.send("lost.jobs", Envelope("kind", "{}", "before"))
        assert came.wait(30)
        came.clear()
        management, vhost = rabbitmq.environment["MANAGEMENT"], url.rpartition("/")[2]
        httpx.delete(f"{management}/api/queues/{vhost}/lost.jobs", timeout=30).raise_for_status()
        assert lost.wait(30)
        operator.declare("lost.jobs", [])
        operator.send("lost.jobs", Envelope("kind", "{}", "after"))
        assert came.wait(60)
    finally:
        service.close()
        operator.close()
    assert arrived == ["before", "after"]
