"""Pause, resume and cancel through another process than the working one, over the deployed ports."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from primitives.common.v1 import object_pb2, plan_pb2
from primitives.training.v1 import events_pb2

from deploy.local.servers import Server, free_ports
from services.cli.client import get, is_ready, post
from services.cli.migrations import migrations_of
from services.common.blobs import open_blobs
from services.common.bus import encode
from services.common.bus.rabbit import RabbitBus
from services.common.errors import NotFound
from services.common.grpc import to_message
from services.common.identity import derived_id
from services.common.records import migrate, open_records
from tests.fakes.data import store_checkpoint, store_dataset
from tests.integration.embedded import LIMIT_S
from tests.integration.processes import children_work, takes_effect
from tests.servers import fresh_vhost


@dataclass
class Worker:
    """One process of the extraction service."""

    base: str
    process: "subprocess.Popen[bytes]"

    def works(self) -> bool:
        """Whether its job is working."""
        return children_work(self.process.pid)


@dataclass
class Pair:
    """Two workers over the same servers, which have received a plan."""

    workers: list[Worker]
    bus: RabbitBus
    event: events_pb2.RunCompleted

    def begin(self, plan_id: str) -> tuple[str, Worker, Worker]:
        """Start the extraction of a plan in one shard. Return its id, the working worker, and the other one."""
        self.event.plan.plan_id = plan_id
        self.bus.publish(encode(self.event))
        extraction_id = derived_id("extraction", plan_id)
        wait_for(lambda: self.stage(plan_id)["progress"]["done"] > 0)
        first, second = self.workers
        return (extraction_id, first, second) if first.works() else (extraction_id, second, first)

    def stage(self, plan_id: str) -> dict[str, Any]:
        """Return the stage as the first worker reports it. It has no progress before it has begun."""
        try:
            stage: dict[str, Any] = get(self.workers[0].base, f"/v1/plans/{plan_id}")["stages"][0]
        except NotFound:
            return {"state": "", "progress": {"done": 0}}
        return stage


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "the time is over"
        time.sleep(0.05)


@pytest.fixture
def pair(tmp_path: Path, rabbitmq: Server, s3: Server, postgres: Server) -> Iterator[Pair]:
    """Two ready extraction services, each in its own process."""
    broker = fresh_vhost(rabbitmq)
    records = open_records(f"{postgres.url}?schema=activation_extraction")
    migrate(records, migrations_of("activation_extraction"))
    records.close()
    blobs = open_blobs(s3.url)
    data, dataset = store_dataset(blobs, tmp_path / "ddsm", {"train": 3, "val": 160})
    checkpoint, _ = store_checkpoint(blobs, data.manifest, "resnet18", 224)
    environment = os.environ | {
        "PRIMITIVES_HOME": str(tmp_path / "home"),
        "PRIMITIVES_BUS_URL": broker,
        "PRIMITIVES_BLOBS_URL": s3.url,
        "PRIMITIVES_RECORDS_URL": postgres.url,
        "PRIMITIVES_EXTRACTION_GRPC_PORT": "0",
        "OMP_NUM_THREADS": "1",
    }
    workers = [start_worker(environment, port, tmp_path) for port in free_ports(2)]
    event = events_pb2.RunCompleted(
        run_id="run-1",
        plan=plan_pb2.Plan(extraction=plan_pb2.PlanExtraction(split="val", layers=["layer1"], top_k=8, batch_size=4)),
        dataset=to_message(dataset, object_pb2.ObjectRef),
        checkpoint=to_message(checkpoint, object_pb2.ObjectRef),
    )
    bus = RabbitBus([broker])
    try:
        wait_for(lambda: all(is_ready(worker.base) for worker in workers))
        wait_for(lambda: not any(worker.works() for worker in workers))  # the children have imported what they need
        yield Pair(workers, bus, event)
    finally:
        for worker in workers:
            worker.process.terminate()
        assert [worker.process.wait(LIMIT_S) for worker in workers] == [0, 0], (tmp_path / "log").read_text()[-3000:]
        bus.close()


def start_worker(environment: dict[str, str], port: int, folder: Path) -> Worker:
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.activation_extraction.main"],
            env=environment | {"PRIMITIVES_EXTRACTION_HTTP_PORT": str(port)},
            stdout=log,
            stderr=log,
        )
    return Worker(f"http://127.0.0.1:{port}", process)


def test_the_job_stops_whichever_process_is_called(pair: Pair) -> None:
    """The idle process receives pause, resume and cancel, and the job in the other one stops within five seconds.
    Either process continues a resumed job, and it completes once."""
    extraction_id, working, other = pair.begin("plan-1")
    post(other.base, f"/v1/extractions/{extraction_id}/pause", {})
    took = {"pause": takes_effect(lambda: not working.works())}
    assert get(working.base, f"/v1/extractions/{extraction_id}")["state"] == "paused"
    assert not other.works()
    post(other.base, f"/v1/extractions/{extraction_id}/resume", {})
    took["resume"] = takes_effect(lambda: working.works() or other.works())
    wait_for(lambda: pair.stage("plan-1")["state"] == "completed")
    extraction_id, working, other = pair.begin("plan-2")
    post(other.base, f"/v1/extractions/{extraction_id}/cancel", {})
    took["cancel"] = takes_effect(lambda: not working.works())
    assert get(working.base, f"/v1/extractions/{extraction_id}")["state"] == "cancelled"
    assert not other.works()
    print({verb: round(seconds, 2) for verb, seconds in took.items()})
