"""Three real servers, a store that can be made to fail, and workers that can be killed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from primitives.common.v1 import object_pb2, plan_pb2
from primitives.training.v1 import events_pb2 as training_events

from deploy.local.servers import Server
from services.activation_extraction.job import extract_shard, merge_extraction
from services.activation_extraction.specs import MergeSpec, ShardSpec
from services.common.blobs import ObjectRef, open_blobs
from services.common.blobs.port import read_verified
from services.common.grpc import to_message
from services.imaging.manifests import ExtractionManifest
from tests.chaos.proxy import FaultyStore
from tests.fakes.data import SilentJob

LIMIT_S = 600.0
LAYERS = ["layer1"]
"""A layer with few units: the states of all shards are kept until the merge, half a megabyte each."""
PARTS = ("top", "sample", "correlation", "statistics", "ranking")


@dataclass
class World:
    """The servers, the store's faulty front, and the workers. `faults` lists what has been done to them."""

    folder: Path
    postgres_folder: Path
    broker: Server
    store: Server
    database: Server
    front: FaultyStore
    shards: int = 0
    workers: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def store_url(self) -> str:
        """The URL of the store's front, which the workers use."""
        return self.store.url.replace(self.store.url.split("@")[1].split("?")[0], f"127.0.0.1:{self.front.port}")

    def start_worker(self, point: str = "", **more: str) -> None:
        """Start another extraction service. It kills itself at a point, if one is named. `more` are variables of its
        environment."""
        environment = os.environ | {
            "PRIMITIVES_HOME": str(self.folder / "home"),
            "PRIMITIVES_BUS_URL": self.broker.url,
            "PRIMITIVES_BLOBS_URL": self.store_url,
            "PRIMITIVES_RECORDS_URL": self.database.url,
            "PRIMITIVES_EXTRACTION_HTTP_PORT": "0",
            "PRIMITIVES_EXTRACTION_GRPC_PORT": "0",
            "PRIMITIVES_LEASE_S": "2",
            "PRIMITIVES_MAX_ATTEMPTS": "20",
            "OMP_NUM_THREADS": "1",
            "CHAOS_POINT": point,
            **more,
        }
        with (self.folder / "worker.log").open("ab") as log:
            command = [sys.executable, "-m", "tests.chaos.worker"]
            self.workers.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))

    def children(self) -> list[int]:
        """Return the process ids of the workers' children, which run jobs."""
        parents = ",".join(str(worker.pid) for worker in self.workers)
        listed = subprocess.run(["pgrep", "-P", parents], capture_output=True, text=True, check=False)
        return [int(pid) for pid in listed.stdout.split()]

    def stop_workers(self) -> None:
        """Kill the workers."""
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.workers.clear()

    def close(self) -> None:
        """Stop everything that was started."""
        self.stop_workers()
        self.front.close()
        for server in (self.broker, self.store, self.database):
            server.kill()


def wait_for(condition: Callable[[], bool]) -> None:
    """Poll until the condition holds. Fail after LIMIT_S."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "the time is over"
        time.sleep(0.05)


def run_completed(
    dataset: ObjectRef, checkpoint: ObjectRef, extraction: plan_pb2.PlanExtraction
) -> training_events.RunCompleted:
    """Return the event that starts the extraction of plan-1."""
    return training_events.RunCompleted(
        run_id="run-1",
        plan=plan_pb2.Plan(plan_id="plan-1", extraction=extraction),
        dataset=to_message(dataset, object_pb2.ObjectRef),
        checkpoint=to_message(checkpoint, object_pb2.ObjectRef),
    )


def undisturbed(world: World, dataset: ObjectRef, checkpoint: ObjectRef, shard_count: int) -> ExtractionManifest:
    """Run the same extraction in this process without faults. Return its manifest."""
    blobs, scratch = open_blobs(world.store.url), world.folder / "scratch-undisturbed"
    scratch.mkdir()
    common: dict[str, Any] = {
        "blobs_url": world.store.url,
        "scratch": str(scratch),
        "extraction_id": "extraction-undisturbed",
        "dataset": dataset,
        "checkpoint": checkpoint,
        "split": "val",
        "layers": LAYERS,
        "top_k": 8,
    }
    job: Any = SilentJob()
    specs = [ShardSpec(shard=number, batch_size=4, device="cpu", **common) for number in range(shard_count)]
    shards = [extract_shard(job, spec).state for spec in specs]
    ref = merge_extraction(job, MergeSpec(shards=shards, **common))
    return ExtractionManifest.model_validate_json(read_verified(blobs, ref))


def hashes(manifest: ExtractionManifest) -> dict[tuple[str, str], str]:
    """Return the sha256 of every result by layer and kind."""
    layers = manifest.layers
    found = {(layer.name, part): getattr(layer, part).sha256 for layer in layers for part in PARTS}
    return found | {(layer.name, f"maxima {n}"): ref.sha256 for layer in layers for n, ref in enumerate(layer.maxima)}
