"""A completed plan, and four services that answer for it over HTTP and gRPC but run no work. They record tasks that a
fuzz test starts and never run them, so that the test costs no computation."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from services.cli.client import get, post
from services.cli.migrations import SERVICES
from services.common.access.tokens import add_token
from services.common.bus import MemoryBus
from services.common.observability.logs import configure_logs
from services.common.runtime.service import Service
from services.common.settings import Shared
from tests.fakes.services import create_services
from tests.integration.embedded import Embedded
from tests.integration.test_plan import EXTRACTION, import_data, start_plan

NETWORK = {"train": {"architecture": "test_resnet", "weights": "none", "image_size": 64, "epochs": 1, "batch_size": 8}}


@dataclass(frozen=True)
class Finished:
    """The services by name, a token that they accept, and existing values by the name of their field."""

    services: dict[str, Service]
    token: str
    known: dict[str, list[str]]

    def http(self, service: str) -> str:
        """The base URL of a service."""
        return f"http://127.0.0.1:{self.services[service].http.port}"

    def grpc(self, service: str) -> str:
        """The gRPC address of a service."""
        return f"127.0.0.1:{self.services[service].grpc.port}"

    @property
    def headers(self) -> dict[str, str]:
        """Headers of a program's call: its token, and the reader it acts for."""
        return {"authorization": f"Bearer {self.token}", "x-reader": "Fuzz"}


@contextmanager
def finished_plan(folder: Path, database: str) -> Iterator[Finished]:
    """Run a small plan to its end with its records in an empty database, then serve it during the block."""
    configure_logs("console", "warning")
    home = Embedded(folder / "home")
    home.environment["PRIMITIVES_RECORDS_URL"] = database
    migrated = home.command("migrate")
    assert migrated.returncode == 0, migrated.stderr
    known = _run_plan(home, folder)
    tokens_file = folder / "tokens.json"
    token = add_token(tokens_file, "fuzz", ("*:read", "*:write", "annotation:manage"))
    shared = Shared(home=home.home, records_url=database, tokens_file=tokens_file, token=SecretStr(token))
    bus = MemoryBus()
    created = create_services(shared, bus)
    for service in created:
        service.ports.outbox.start()
        service.http.start()
        service.grpc.start()
    try:
        yield Finished(dict(zip(SERVICES, created, strict=True)), token, known)
    finally:
        for service in created:
            service.stop()
        bus.close()
        for service in created:
            service.ports.records.close()


def _run_plan(home: Embedded, folder: Path) -> dict[str, list[str]]:
    home.start()
    try:
        dataset_id = import_data(home, folder / "ddsm", outlined=True)
        start_plan(home, dataset_id, network=NETWORK, extraction=EXTRACTION | {"analyses": ["dissection"]})
        stages = home.wait_for_plan("plan-1")
        names = {name: stage["id"] for name, stage in stages.items()}
        layers = get(home.services.annotation, f"/v1/studies/{names['study']}")["layers"]
        evaluation_id = _evaluate(home, names["training"])
        analysis_id = _analysed(home, names["extraction"])
    finally:
        home.stop()
    return {
        "plan_id": ["plan-1"],
        "dataset_id": [dataset_id],
        "run_id": [names["training"]],
        "evaluation_id": [evaluation_id],
        "figure": ["roc"],
        "extraction_id": [names["extraction"]],
        "analysis_id": [analysis_id],
        "rendering_id": [names["rendering"]],
        "study_id": [names["study"]],
        "layer": [layer["name"] for layer in layers] + list(EXTRACTION["layers"]),  # type: ignore[call-overload]
        "split": ["val"],
        "unit": ["0", "1"],
        "rank": ["1"],
    }


def _evaluate(home: Embedded, run_id: str) -> str:
    training = home.services.training
    options = {"run_id": run_id, "settings": {"replicates": 10}}
    evaluation_id = post(training, "/v1/evaluations", options)["evaluation_id"]
    home.wait_for(lambda: bool(get(training, f"/v1/evaluations/{evaluation_id}")["state"] == "completed"))
    return str(evaluation_id)


def _analysed(home: Embedded, extraction_id: str) -> str:
    """Wait for the analysis that the plan started. Return its id."""
    path = f"/v1/extractions/{extraction_id}/analyses"

    def view() -> dict[str, str]:
        found: dict[str, str] = get(home.services.activation_extraction, path)["analyses"][0]
        return found

    home.wait_for(lambda: view()["state"] == "completed")
    return view()["analysis_id"]
