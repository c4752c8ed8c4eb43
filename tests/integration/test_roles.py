"""A plan by separate processes of each role, over real servers: fronts that stay, and workers that come and go."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.local.servers import Server, free_ports
from services.cli.client import get, is_ready, post
from services.common.bus.rabbit import RabbitBus
from tests.chaos.world import wait_for
from tests.integration.embedded import LIMIT_S
from tests.servers import fresh_database, fresh_vhost

NAMES = ("training", "activation_extraction")
PREFIXES = {"training": "PRIMITIVES_TRAINING", "activation_extraction": "PRIMITIVES_EXTRACTION"}
QUEUES = {
    ("training", "worker"): "training.jobs",
    ("training", "plain-worker"): "training.plain_jobs",
    ("activation_extraction", "worker"): "activation_extraction.jobs",
    ("activation_extraction", "plain-worker"): "activation_extraction.merges",
}
PLAN: dict[str, Any] = {
    "plan_id": "plan-1",
    "network": {
        "train": {"architecture": "test_resnet", "weights": "none", "image_size": 64, "epochs": 1, "batch_size": 16}
    },
    "extraction": {"split": "val", "layers": ["layer4"], "top_k": 4},
}


@dataclass
class Cluster:
    """A front of each service, and what starts workers."""

    environment: dict[str, str]
    log: Path
    bus: RabbitBus
    bases: dict[str, str] = field(default_factory=dict)
    fronts: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def start_front(self, name: str, port: int) -> None:
        """Start the front of a service."""
        changes = {f"{PREFIXES[name]}_ROLE": "front", f"{PREFIXES[name]}_HTTP_PORT": str(port)}
        self.fronts.append(self._start([f"services.{name}.main"], changes))
        self.bases[name] = f"http://127.0.0.1:{port}"

    def run_worker(self, name: str, role: str) -> None:
        """Run a worker until it ends by itself, which it does in order."""
        changes = {f"{PREFIXES[name]}_ROLE": role, f"{PREFIXES[name]}_WORKER_IDLE_S": "1"}
        words = ["services.common.runtime.worker", QUEUES[name, role], f"services.{name}.main"]
        process = self._start(words, changes)
        try:
            assert process.wait(LIMIT_S) == 0, self.log.read_text()[-3000:]
        finally:
            process.kill()

    def waiting(self) -> dict[str, int]:
        """Return the numbers of messages that wait for workers, without the empty queues."""
        depths = {queue: self.bus.depth(queue).waiting for queue in QUEUES.values()}
        return {queue: count for queue, count in depths.items() if count}

    def _start(self, words: list[str], changes: dict[str, str]) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *words], env=self.environment | changes, stdout=log, stderr=log
            )


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, rabbitmq: Server, s3: Server, postgres: Server
) -> Iterator[Cluster]:
    """The fronts of training and extraction. No process consumes jobs."""
    folder, broker = tmp_path_factory.mktemp("cluster"), fresh_vhost(rabbitmq)
    environment = os.environ | {
        "PRIMITIVES_HOME": str(folder / "home"),
        "PRIMITIVES_BUS_URL": broker,
        "PRIMITIVES_BLOBS_URL": s3.url,
        "PRIMITIVES_RECORDS_URL": fresh_database(postgres),
        "PRIMITIVES_DEVICE": "cpu",
        "OMP_NUM_THREADS": "1",
    }
    for prefix in PREFIXES.values():
        environment |= {f"{prefix}_HTTP_PORT": "0", f"{prefix}_GRPC_PORT": "0"}
    subprocess.run([sys.executable, "-m", "services.cli", "migrate"], env=environment, check=True, capture_output=True)
    cluster = Cluster(environment, folder / "log", RabbitBus([broker]))
    try:
        for name, port in zip(NAMES, free_ports(len(NAMES)), strict=True):
            cluster.start_front(name, port)
        wait_for(lambda: all(map(is_ready, cluster.bases.values())))
        yield cluster
    finally:
        for front in cluster.fronts:
            front.terminate()
        assert [front.wait(LIMIT_S) for front in cluster.fronts] == [0, 0], cluster.log.read_text()[-3000:]
        cluster.bus.close()


def test_a_plan_is_completed_by_workers_of_each_kind(cluster: Cluster) -> None:
    """Each stage waits in the queue of its worker, and in no other. The worker performs it and ends. Data sets and
    merges need no worker with a GPU. The fronts answer all the time, and nothing is parked."""
    post(cluster.bases["training"], "/v1/plans", PLAN)
    for name, role in (
        ("training", "plain-worker"),
        ("training", "worker"),
        ("activation_extraction", "worker"),
        ("activation_extraction", "plain-worker"),
    ):
        wait_for(lambda: bool(cluster.waiting()))
        assert list(cluster.waiting()) == [QUEUES[name, role]]
        cluster.run_worker(name, role)
    stages = [stage for base in cluster.bases.values() for stage in get(base, "/v1/plans/plan-1")["stages"]]
    assert [(stage["name"], stage["state"]) for stage in stages] == [
        ("dataset", "completed"),
        ("training", "completed"),
        ("extraction", "completed"),
    ]
    assert cluster.waiting() == {}
    assert [get(base, "/v1/parked")["messages"] for base in cluster.bases.values()] == [[], []]


def test_a_worker_that_comes_too_late_starts_no_service(cluster: Cluster) -> None:
    """If another worker has taken the messages, it ends at once."""
    started = cluster.log.read_text().count("service started")
    cluster.run_worker("training", "worker")
    text = cluster.log.read_text()
    assert text.count("no message waits") == 1 and text.count("service started") == started
