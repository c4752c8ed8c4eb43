"""The ledger: jobs go through the real broker, store and database while everything that can fail is made to fail.

One extraction over 200 shards (1,000 in the long form), a message each. Lost: a shard that was accepted and is not in
the result. Duplicated: a second result. Wrong: a result whose bytes are not those of a run in peace.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from primitives.activation_extraction.v1 import events_pb2
from primitives.common.v1 import object_pb2, plan_pb2
from primitives.training.v1 import events_pb2 as training_events
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from deploy.local.servers import rabbitmqctl, start_postgres, start_rabbitmq
from services.activation_extraction.tables import ExtractionRow, ShardRow
from services.common.blobs import ObjectRef, open_blobs
from services.common.blobs.port import read_verified
from services.common.bus import encode
from services.common.bus.rabbit import RabbitBus
from services.common.errors import Unavailable
from services.common.grpc import to_message
from services.common.identity import derived_id
from services.common.records import Records, open_records
from services.imaging.manifests import ExtractionManifest
from tests.chaos.worker import POINTS
from tests.chaos.world import LAYERS, LIMIT_S, World, hashes, in_peace, wait_for
from tests.fakes.data import store_checkpoint, store_dataset

ROUND = 200
"""Shards to a round of all faults."""
EXTRACTION = derived_id("extraction", "plan-1")


def kill_child(world: World) -> None:
    """The out-of-memory killer takes the job's process."""
    for pid in world.children():
        os.kill(pid, 9)


def close_connections(world: World) -> None:
    """Somebody closes all connections of the broker."""
    management = world.broker.environment["MANAGEMENT"]
    for connection in httpx.get(f"{management}/api/connections", timeout=30).json():
        httpx.delete(f"{management}/api/connections/{connection['name']}", timeout=30)


def restart_broker(world: World) -> None:
    """The broker loses its power and comes back."""
    port = int(world.broker.url.rsplit(":", 1)[1].split("/")[0])
    world.broker.kill()
    world.broker = start_rabbitmq(world.folder / "rabbitmq", port)


def raise_disk_alarm(world: World) -> None:
    """The broker's disk is full, and is emptied."""
    rabbitmqctl(world.broker, "set_disk_free_limit", str(10**15))
    rabbitmqctl(world.broker, "set_disk_free_limit", str(50 * 10**6))


def restart_database(world: World) -> None:
    """The database loses its power and comes back."""
    port = int(world.database.url.rsplit(":", 1)[1].split("/")[0])
    world.database.kill()
    world.database = start_postgres(world.postgres_folder, port)


def refuse_storage(world: World) -> None:
    """The store answers 503 to a few calls."""
    fault_until(world, "refuse", 3)


def cut_upload(world: World) -> None:
    """Uploads end in the middle."""
    fault_until(world, "cut", 2)


def alter_upload(world: World) -> None:
    """One bit of an upload is flipped on the way."""
    fault_until(world, "alter", 2)


def fault_until(world: World, mode: str, faults: int) -> None:
    before = world.front.faults
    world.front.mode = mode
    wait_for(lambda: world.front.faults >= before + faults or done(world.folder))
    world.front.mode = "pass"


def deliver_twice(world: World) -> None:
    """Thirty commands arrive again."""
    bus = RabbitBus([world.broker.url])
    for shard in range(0, world.shards, world.shards // 30):
        command = events_pb2.ExtractShard(extraction_id=EXTRACTION, shard=shard)
        bus.send("activation_extraction.jobs", encode(command))
    bus.close()


def kill_worker(world: World) -> None:
    """The supervisor is killed from outside, in mid-job."""
    world.workers[-1].kill()


FAULTS: list[Callable[[World], None]] = [
    kill_child,
    close_connections,
    deliver_twice,
    restart_broker,
    raise_disk_alarm,
    refuse_storage,
    cut_upload,
    alter_upload,
    restart_database,
    kill_worker,
]

_records: dict[Path, Records] = {}


def done(folder: Path) -> bool:
    """Whether the extraction has ended; False while the database is away."""
    try:
        with _records[folder].reading() as session:
            row = session.get(ExtractionRow, EXTRACTION)
            return row is not None and row.ended
    except Unavailable:
        return False


def shards_in(folder: Path) -> int:
    """How many shards are recorded; 0 while the database is away."""
    try:
        with _records[folder].reading() as session:
            return session.scalar(select(func.count()).where(ShardRow.extraction_id == EXTRACTION)) or 0
    except (Unavailable, OperationalError):
        return 0


@pytest.mark.parametrize("shards", [ROUND, pytest.param(5 * ROUND, marks=pytest.mark.long)])
def test_nothing_is_lost_duplicated_or_wrong(world: World, shards: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Under all of FAULTS, and killed at every point of POINTS, each shard is in the one, right result."""
    world.shards = shards
    blobs = open_blobs(world.store.url)
    data, dataset = store_dataset(blobs, world.folder / "ddsm", {"train": 3, "val": shards}, shard_patches=1)
    checkpoint, _ = store_checkpoint(blobs, data.manifest, "test_resnet", 64)
    assert len(data.shards("val")) == shards
    expected = in_peace(world, dataset, checkpoint, shards)
    points = list(POINTS)
    world.start_worker(points.pop(0))
    _records[world.folder] = open_records(f"{world.database.url}?schema=activation_extraction")
    tap = RabbitBus([world.broker.url])
    tap.declare("ledger.results", [events_pb2.ExtractionCompleted.DESCRIPTOR.full_name])
    wait_for(lambda: "service started" in (world.folder / "worker.log").read_text())
    plan = plan_pb2.Plan(
        plan_id="plan-1",
        extraction=plan_pb2.PlanExtraction(split="val", layers=LAYERS, top_k=8, batch_size=4),
    )
    event = training_events.RunCompleted(
        run_id="run-1",
        plan=plan,
        dataset=to_message(dataset, object_pb2.ObjectRef),
        checkpoint=to_message(checkpoint, object_pb2.ObjectRef),
    )
    tap.publish(encode(event))
    tap.publish(encode(event))
    disturb(world, points)
    wait_for(lambda: done(world.folder))
    ledger = count(world, tap, expected)
    tap.close()
    with capsys.disabled():
        print(f"\nledger {ledger} under {', '.join(world.told)}")
    assert ledger == {"accepted": shards, "completed": shards, "lost": 0, "duplicated": 0, "wrong": 0}


def disturb(world: World, points: list[str]) -> None:
    """Cause faults while the work continues. Restart the worker whenever it has died, to die at the next point."""
    faults = FAULTS * (world.shards // ROUND)
    step = max(
        1, world.shards // (2 * (len(faults) + 1))
    )  # in the first half, so that the work does not end before them
    next_at = step // 2
    deadline = time.monotonic() + LIMIT_S * (world.shards // ROUND)
    while not done(world.folder):
        assert time.monotonic() < deadline, (world.folder / "worker.log").read_text()[-4000:]
        if world.workers[-1].poll() is not None:
            point = points.pop(0) if points else ""
            world.told.append(f"death and restart, to die {point}" if point else "death and restart")
            world.start_worker(point)
        elif faults and shards_in(world.folder) >= next_at:
            fault = faults.pop(0)
            next_at += step
            world.told.append(fault.__name__)
            fault(world)
        time.sleep(0.05)
    assert not faults, f"the work ended before {[fault.__name__ for fault in faults]}"
    assert not points, f"the work ended before it died at {points}"


def count(world: World, tap: RabbitBus, expected: ExtractionManifest) -> dict[str, int]:
    """The ledger, from the database, the store and the queue of results."""
    with _records[world.folder].reading() as session:
        row = session.get_one(ExtractionRow, EXTRACTION)
        shards = set(session.scalars(select(ShardRow.shard).where(ShardRow.extraction_id == EXTRACTION)))
        assert row.manifest is not None, row.error
        ref = ObjectRef.model_validate(row.manifest)
    found = ExtractionManifest.model_validate_json(read_verified(open_blobs(world.store.url), ref))
    results: dict[str, str] = {}
    wait_for(lambda: bool(collect(tap, results)))
    mine, theirs = hashes(found), hashes(expected)
    wrong = sum(mine.get(result) != theirs.get(result) for result in mine.keys() | theirs.keys())
    return {
        "accepted": row.shards,
        "completed": len(shards),
        "lost": len(set(range(world.shards)) - shards),
        "duplicated": len(set(results.values())) - 1,
        "wrong": wrong,
    }


def collect(tap: RabbitBus, results: dict[str, str]) -> dict[str, str]:
    """Published results: message id to body. The same result published twice is one result."""

    def read(channel: Any) -> None:
        while True:
            method, properties, body = channel.basic_get("ledger.results", auto_ack=True)
            if method is None:
                return
            results[properties.message_id] = body.decode()

    tap._publisher.do(read)
    return results
