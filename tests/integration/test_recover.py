"""`primitives recover` over a broker that knows nothing of the work that is recorded."""

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from deploy.local.servers import Server
from services.cli.main import app
from services.common.bus import MemoryBus
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


def test_unfinished_work_is_asked_for_again(tmp_path: Path, rabbitmq: Server) -> None:
    """A run whose command went to a broker that was lost is queued on a new one by `recover`, once per call; a bus that
    forgets with its process is refused."""
    shared = Shared(home=tmp_path / "home")
    lost = MemoryBus()
    lost.declare("training.jobs", [])
    ports = open_training_ports(TrainingSettings(shared=shared), lost)
    data, ref = store_dataset(ports.blobs, tmp_path / "ddsm", {"train": 3})
    Datasets(ports, NO_RUNNER).register(data.manifest, ref)
    wish = StartRunRequest(dataset_id=data.manifest.dataset_id, settings=SETTINGS)
    run = Runs(ports, NO_RUNNER, TrainingSettings(shared=shared)).start(wish)
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
