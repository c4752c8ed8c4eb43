"""Points measured with 1, 2 and 4 workers are on the line of the cost model (docs/scaling.md)."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from primitives.common.v1 import plan_pb2
from primitives.training.v1 import events_pb2 as training_events

from deploy.scaling.constants import Constants
from deploy.scaling.model import AS_IT_IS, Setup, line_s
from deploy.scaling.simulation import simulate
from services.activation_extraction.tables import ExtractionRow
from services.common.blobs import open_blobs
from services.common.bus import encode
from services.common.bus.rabbit import RabbitBus
from services.common.identity import derived_id
from services.common.records import Records, open_records
from tests.chaos.world import World, run_completed, wait_for
from tests.fakes.data import store_checkpoint, store_dataset

SHARDS, SHARD_PATCHES, WAIT_S = 48, 2, 1.0
DEVIATION = 0.1
CONSTANTS = replace(Constants.read(), state_bytes=0.0, maxima_bytes=0.0, store_put_s=0.0)
DESIGN = replace(AS_IT_IS, progress_s=math.inf)
"""A job that waits stores nothing and reports nothing."""


def start(world: World, workers: int) -> None:
    """Start workers and return when all of them consume messages."""
    environment = os.environ | {
        "PRIMITIVES_HOME": str(world.folder / "home"),
        "PRIMITIVES_BUS_URL": world.broker.url,
        "PRIMITIVES_BLOBS_URL": world.store.url,
        "PRIMITIVES_RECORDS_URL": world.database.url,
        "PRIMITIVES_EXTRACTION_HTTP_PORT": "0",
        "PRIMITIVES_EXTRACTION_GRPC_PORT": "0",
        "OMP_NUM_THREADS": "1",
        "SCALING_WAIT_S": str(WAIT_S),
    }
    logs = [world.folder / f"waiting-{workers}-{number}.log" for number in range(workers)]
    for path in logs:
        with path.open("wb") as log:
            command = [sys.executable, "-m", "tests.chaos.waiting"]
            world.workers.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
    wait_for(lambda: all("service started" in path.read_text() for path in logs))


def measure(world: World, records: Records, event: training_events.RunCompleted, workers: int) -> float:
    """Measure the seconds from the begin of the first shard until all shards are complete and a merge that does nothing
    has ended."""
    extraction_id = derived_id("extraction", f"plan-{workers}")
    event.plan.plan_id = f"plan-{workers}"

    def completed() -> bool:
        with records.reading() as session:
            row = session.get(ExtractionRow, extraction_id)
            assert row is None or row.state != "failed", row.error
            return row is not None and row.state == "completed"

    start(world, workers)
    bus = RabbitBus([world.broker.url])
    bus.publish(encode(event))
    # Every message must be finished: the next worker would wait for the lease of a killed worker.
    wait_for(completed)
    bus.close()
    world.stop_workers()
    with records.reading() as session:
        row = session.get_one(ExtractionRow, extraction_id)
    assert row.started is not None and row.finished is not None
    return (row.finished - row.started).total_seconds()


@pytest.mark.long
def test_measured_points_are_on_the_line_of_the_model(world: World) -> None:
    """48 shards of a second each, by 1, 2 and 4 workers over real servers, take the seconds of formula and simulation
    within a tenth."""
    blobs = open_blobs(world.store.url)
    data, dataset = store_dataset(
        blobs, world.folder / "ddsm", {"train": 3, "val": SHARDS * SHARD_PATCHES}, SHARD_PATCHES
    )
    checkpoint, _ = store_checkpoint(blobs, data.manifest, "test_resnet", 64)
    event = run_completed(dataset, checkpoint, plan_pb2.PlanExtraction(split="val", layers=["layer4"], top_k=8))
    records = open_records(f"{world.database.url}?schema=activation_extraction")
    points = {}
    for workers in (1, 2, 4):
        setup = Setup(
            patches=SHARDS * SHARD_PATCHES, workers=workers, shard_patches=SHARD_PATCHES, layers=1,
            worker_patches_per_s=SHARD_PATCHES / WAIT_S, losses_per_worker_hour=0.0,
        )  # fmt: skip
        points[workers] = {
            "measured_s": round(measure(world, records, event, workers), 2),
            "line_s": round(line_s(CONSTANTS, setup, DESIGN), 2),
            "simulated_s": round(simulate(CONSTANTS, setup, DESIGN).shards_s, 2),
        }
    records.close()
    print(json.dumps(points))
    for workers, point in points.items():
        for predicted in ("line_s", "simulated_s"):
            assert abs(point["measured_s"] / point[predicted] - 1) < DEVIATION, (workers, point)
