"""A plan through the real broker, store and database, while every service is killed at several points of every
stage."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from deploy.local.servers import Server, free_ports
from services.activation_extraction.tables import ExtractionRow
from services.annotation.tables import StudyRow
from services.cli.client import Services, plan_stages, post
from services.cli.migrations import SERVICES as NAMES
from services.common.blobs import open_blobs
from services.common.blobs.port import read_verified
from services.common.bus.rabbit import RabbitBus
from services.common.errors import Unavailable
from services.common.records import open_records
from services.common.settings import Shared
from services.imaging.checkpoint import open_checkpoint
from services.imaging.manifests import ExtractionManifest, RenderingManifest
from services.patch_rendering.tables import RenderingRow
from services.training.tables import RunRow
from tests.chaos.world import wait_for
from tests.fakes.ddsm import make_ddsm
from tests.integration.embedded import embedded
from tests.servers import fresh_database, fresh_vhost

PREFIXES = ("TRAINING", "EXTRACTION", "RENDERING", "ANNOTATION")
QUEUES = [f"{name}.{kind}" for name in NAMES for kind in ("jobs", "events")]
QUEUES += ["training.plain_jobs", "activation_extraction.merges"]
POINTS = {
    "training": ("before_handling:1", "after_commit:4", "before_acknowledging:2", "after_publish:1"),
    "activation_extraction": ("before_commit:1", "before_acknowledging:1", "before_publish:1", "after_commit:2"),
    "patch_rendering": ("after_publish:1", "before_commit:3", "before_handling:2", "before_acknowledging:2"),
    "annotation": ("before_handling:1", "after_commit:1", "after_publish:1", "before_commit:1"),
}
"""The points at which each service dies, one after the other. The ledger has every point for one service."""
PLAN: dict[str, Any] = {
    "plan_id": "plan-chaos",
    "network": {
        "train": {
            "architecture": "test_resnet", "weights": "none", "image_size": 64, "epochs": 4, "batch_size": 8,
            "learning_rate": 0.003,
        }
    },
    "extraction": {"split": "val", "layers": ["layer3", "layer4"], "top_k": 8},
}  # fmt: skip
COUNTS = {"train": 48, "val": 24}


@dataclass
class Mortal:
    """A service that is started again whenever it has died, each time with the next of its points."""

    name: str
    environment: dict[str, str]
    log: Path
    points: list[str]
    deaths: int = 0
    process: "subprocess.Popen[bytes] | None" = None

    def tend(self) -> None:
        """Start the service, or start it again if it has died."""
        if self.process is not None:
            if self.process.poll() is None:
                return
            self.deaths += 1
            assert self.process.returncode == -9, self.log.read_text()[-3000:]
        point = self.points.pop(0) if self.points else ""
        environment = self.environment | {"CHAOS_SERVICE": self.name, "CHAOS_POINT": point}
        with self.log.open("ab") as out:
            command = [sys.executable, "-m", "tests.chaos.worker"]
            self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)

    def end(self) -> None:
        """Kill the service for good."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def settings(
    tmp_path: Path, rabbitmq: Server, s3: Server, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The settings of all services, with a new virtual host of the broker and a new database."""
    # Also for the undisturbed plan, because each group is one pack.
    monkeypatch.setenv("PRIMITIVES_RENDERING_GROUP_UNITS", "24")
    http, grpc = free_ports(4), free_ports(4)
    environment = os.environ | {
        "PRIMITIVES_HOME": str(tmp_path / "home"),
        "PRIMITIVES_BUS_URL": fresh_vhost(rabbitmq),
        "PRIMITIVES_BLOBS_URL": s3.url,
        "PRIMITIVES_RECORDS_URL": fresh_database(postgres),
        "PRIMITIVES_LEASE_S": "2",
        "PRIMITIVES_MAX_ATTEMPTS": "20",
        "PRIMITIVES_TRAINING_SLICE_S": "0.2",
        "OMP_NUM_THREADS": "1",
    }
    for prefix, http_port, grpc_port in zip(PREFIXES, http, grpc, strict=True):
        environment[f"PRIMITIVES_{prefix}_HTTP_PORT"] = str(http_port)
        environment[f"PRIMITIVES_{prefix}_GRPC_PORT"] = str(grpc_port)
    return environment


@pytest.fixture(params=[pytest.param(deaths, marks=pytest.mark.long) for deaths in (1, 4)])
def mortals(request: pytest.FixtureRequest, settings: dict[str, str], tmp_path: Path) -> Iterator[list[Mortal]]:
    """The four services with a number of deaths ahead of each, not yet started, over migrated tables."""
    subprocess.run([sys.executable, "-m", "services.cli", "migrate"], env=settings, check=True, capture_output=True)
    services = [Mortal(name, settings, tmp_path / f"{name}.log", list(POINTS[name][: request.param])) for name in NAMES]
    yield services
    for one in services:
        one.end()


def addresses(settings: dict[str, str]) -> Services:
    """Return the base URLs of the services."""
    return Services(*(f"http://127.0.0.1:{settings[f'PRIMITIVES_{prefix}_HTTP_PORT']}" for prefix in PREFIXES))


def import_into(settings: dict[str, str], data: Path) -> str:
    """Import the data set with the command. Return its id."""
    command = [sys.executable, "-m", "services.cli", "dataset", "import", str(data), "--classes", "3"]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)["dataset_id"])


def outcome(settings: dict[str, str]) -> dict[str, list[Any]]:
    """Return the results of every record: the hashes of weights, top patches, rankings and pictures, and the states of
    studies.

    Manifests are left out, because the metrics in a run's manifest contain seconds.
    """
    shared = Shared(
        home=settings["PRIMITIVES_HOME"],  # type: ignore[arg-type]
        blobs_url=settings.get("PRIMITIVES_BLOBS_URL", ""),
        records_url=settings.get("PRIMITIVES_RECORDS_URL", ""),
    )
    blobs = open_blobs(shared.blobs())
    runs, extractions, renderings, studies = (
        _column(shared, name, row, column)
        for name, row, column in (
            ("training", RunRow, "checkpoint"),
            ("activation_extraction", ExtractionRow, "manifest"),
            ("patch_rendering", RenderingRow, "manifest"),
            ("annotation", StudyRow, "state"),
        )
    )
    extracted = [ExtractionManifest.model_validate_json(read_verified(blobs, ref)) for ref in extractions]
    rendered = [RenderingManifest.model_validate_json(read_verified(blobs, ref)) for ref in renderings]
    return {
        "weights": [open_checkpoint(blobs, ref).weights.sha256 for ref in runs],
        "units": [[layer.top.sha256 + layer.ranking.sha256 for layer in one.layers] for one in extracted],
        "pictures": [[group.pack.sha256 for layer in one.layers for group in layer.groups] for one in rendered],
        "studies": studies,
    }


def _column(shared: Shared, service: str, row: Any, column: str) -> list[Any]:
    """Read a column of all rows of a service's table."""
    records = open_records(shared.records(service))
    with records.reading() as session:
        found = [getattr(one, column) for one in session.scalars(select(row))]
    records.close()
    return found


def stages(services: Services) -> dict[str, dict[str, Any]]:
    """Return the stages that can be read now. A service may be down."""
    try:
        return {stage["name"]: stage for stage in plan_stages(services, PLAN["plan_id"])}
    except Unavailable:
        return {}


def test_a_plan_ends_once_whatever_dies(settings: dict[str, str], mortals: list[Mortal], tmp_path: Path) -> None:
    """Every service dies, on either side of its commits. The plan completes once, nothing is parked, and each result
    has the bytes of an undisturbed plan."""
    data = make_ddsm(tmp_path / "ddsm", COUNTS)
    with embedded(tmp_path / "undisturbed") as home:
        undisturbed = PLAN | {"dataset": {"dataset_id": import_into(home.environment, data)}}
        post(home.services.training, "/v1/plans", undisturbed)
        home.wait_for_plan(PLAN["plan_id"])
        expected = outcome(home.environment)
    dataset = {"dataset": {"dataset_id": import_into(settings, data)}}
    services = addresses(settings)

    def tend() -> None:
        for one in mortals:
            one.tend()

    def accepted() -> bool:
        tend()
        try:
            return bool(post(services.training, "/v1/plans", PLAN | dataset))
        except Unavailable:
            return False

    def ended() -> bool:
        tend()
        failed = {name: stage["error"] for name, stage in stages(services).items() if stage["state"] == "failed"}
        assert not failed, failed
        return stages(services).get("study", {}).get("state") == "completed"

    wait_for(accepted)
    wait_for(ended)
    results = outcome(settings)
    assert results == expected
    assert [len(kind) for kind in results.values()] == [1, 1, 1, 1]
    bus = RabbitBus([settings["PRIMITIVES_BUS_URL"]])
    parked = {queue: bus.parked(queue) for queue in QUEUES}
    bus.close()
    assert not any(parked.values()), parked
    assert all(one.deaths and not one.points for one in mortals), mortals
