"""The ledger: jobs go through the real broker, store and database while every part is made to fail.

One extraction of 80 shards (10,000 in the long form, or LEDGER_SHARDS), a message each. Lost means an accepted shard
that is not in the result. Duplicated means a second result. Wrong means a result with other bytes than those of an
undisturbed run.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from primitives.activation_extraction.v1 import events_pb2
from primitives.common.v1 import plan_pb2
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from deploy.local.servers import rabbitmqctl, start_postgres, start_rabbitmq
from services.activation_extraction.tables import ExtractionRow, ShardRow
from services.common.blobs import open_blobs
from services.common.blobs.port import read_verified
from services.common.bus import encode
from services.common.bus.rabbit import RabbitBus
from services.common.errors import Unavailable
from services.common.identity import derived_id
from services.common.records import Records, open_records
from services.imaging.manifests import ExtractionManifest
from tests.chaos.worker import POINTS
from tests.chaos.world import LAYERS, LIMIT_S, World, hashes, run_completed, undisturbed, wait_for
from tests.fakes.data import store_checkpoint, store_dataset

SHARDS = 80
LONG_SHARDS = int(os.environ.get("LEDGER_SHARDS", "10000"))
LONG_ROUNDS = 5
"""How often the long form causes all faults."""
EXTRACTION = derived_id("extraction", "plan-1")


def kill_child(world: World) -> None:
    """Kill the job's process, as the out-of-memory killer does."""
    for pid in world.children():
        os.kill(pid, 9)


def close_connections(world: World) -> None:
    """Close all connections of the broker."""
    management = world.broker.environment["MANAGEMENT"]
    for connection in httpx.get(f"{management}/api/connections", timeout=30).json():
        httpx.delete(f"{management}/api/connections/{connection['name']}", timeout=30)


def restart_broker(world: World) -> None:
    """Cut the broker's power and start it again."""
    port = int(world.broker.url.rsplit(":", 1)[1].split("/")[0])
    world.broker.kill()
    world.broker = start_rabbitmq(world.folder / "rabbitmq", port)


def raise_disk_alarm(world: World) -> None:
    """Make the broker's disk look full for a moment."""
    rabbitmqctl(world.broker, "set_disk_free_limit", str(10**15))
    rabbitmqctl(world.broker, "set_disk_free_limit", str(50 * 10**6))


def restart_database(world: World) -> None:
    """Cut the database's power and start it again."""
    port = int(world.database.url.rsplit(":", 1)[1].split("/")[0])
    world.database.kill()
    world.database = start_postgres(world.postgres_folder, port)


def refuse_storage(world: World) -> None:
    """Answer 503 to a few calls of the store."""
    fault_until(world, "refuse", 3)


def cut_upload(world: World) -> None:
    """End uploads in the middle."""
    fault_until(world, "cut", 2)


def alter_upload(world: World) -> None:
    """Flip one bit of an upload on the way."""
    fault_until(world, "alter", 2)


def fault_until(world: World, mode: str, faults: int) -> None:
    """Cause faults in the store until there are enough, or the extraction has ended."""
    before = world.front.faults
    world.front.mode = mode
    wait_for(lambda: world.front.faults >= before + faults or done(world.folder))
    world.front.mode = "pass"


def deliver_twice(world: World) -> None:
    """Deliver thirty commands again."""
    bus = RabbitBus([world.broker.url])
    for shard in range(0, world.shards, world.shards // 30):
        command = events_pb2.ExtractShard(extraction_id=EXTRACTION, shard=shard)
        bus.send("activation_extraction.jobs", encode(command))
    bus.close()


def kill_worker(world: World) -> None:
    """Kill the supervisor from outside, in the middle of a job."""
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
    """Whether the extraction has ended; False while the database is unreachable."""
    try:
        with _records[folder].reading() as session:
            row = session.get(ExtractionRow, EXTRACTION)
            return row is not None and row.ended
    except Unavailable:
        return False


def recorded_shards(folder: Path) -> int:
    """Return the number of recorded shards; 0 while the database is unreachable."""
    try:
        with _records[folder].reading() as session:
            return session.scalar(select(func.count()).where(ShardRow.extraction_id == EXTRACTION)) or 0
    except (Unavailable, OperationalError):
        return 0


@pytest.mark.parametrize(
    ("shards", "rounds"), [(SHARDS, 1), pytest.param(LONG_SHARDS, LONG_ROUNDS, marks=pytest.mark.long)]
)
def test_nothing_is_lost_duplicated_or_wrong(
    world: World, shards: int, rounds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under all FAULTS, and with a worker that dies at every point of POINTS, each shard is in the one result, which is
    correct."""
    world.shards = shards
    blobs = open_blobs(world.store.url)
    data, dataset = store_dataset(blobs, world.folder / "ddsm", {"train": 3, "val": shards}, shard_patches=1)
    checkpoint, _ = store_checkpoint(blobs, data.manifest, "test_resnet", 64)
    assert len(data.shards("val")) == shards
    expected = undisturbed(world, dataset, checkpoint, shards)
    points = list(POINTS)
    world.start_worker(points.pop(0))
    _records[world.folder] = open_records(f"{world.database.url}?schema=activation_extraction")
    tap = RabbitBus([world.broker.url])
    tap.declare("ledger.results", [events_pb2.ExtractionCompleted.DESCRIPTOR.full_name])
    wait_for(lambda: "service started" in (world.folder / "worker.log").read_text())
    extraction = plan_pb2.PlanExtraction(split="val", layers=LAYERS, top_k=8, batch_size=4)
    event = run_completed(dataset, checkpoint, extraction)
    tap.publish(encode(event))
    tap.publish(encode(event))
    disturb(world, points, rounds)
    ledger = count(world, tap, expected)
    tap.close()
    with capsys.disabled():
        print(f"\nledger {ledger} under {', '.join(world.faults)}")
    assert ledger == {"accepted": shards, "completed": shards, "lost": 0, "duplicated": 0, "wrong": 0}


def disturb(world: World, points: list[str], rounds: int) -> None:
    """Cause faults until the work has ended. Restart the worker whenever it has died, with the next point."""
    faults = FAULTS * rounds
    # All faults come in the first half, so that the work does not end before them.
    step = max(1, world.shards // (2 * (len(faults) + 1)))
    next_at = step // 2
    deadline = time.monotonic() + LIMIT_S * (world.shards // SHARDS)
    while not done(world.folder):
        assert time.monotonic() < deadline, (world.folder / "worker.log").read_text()[-4000:]
        if world.workers[-1].poll() is not None:
            point = points.pop(0) if points else ""
            world.faults.append(f"death and restart with {point}" if point else "death and restart")
            world.start_worker(point)
        elif faults and recorded_shards(world.folder) >= next_at:
            fault = faults.pop(0)
            next_at += step
            world.faults.append(fault.__name__)
            fault(world)
        time.sleep(0.05)
    assert not faults, f"the work ended before {[fault.__name__ for fault in faults]}"
    assert not points, f"the work ended before it died at {points}"


def count(world: World, tap: RabbitBus, expected: ExtractionManifest) -> dict[str, int]:
    """Compute the ledger from the database, the store and the queue of results."""
    with _records[world.folder].reading() as session:
        row = session.get_one(ExtractionRow, EXTRACTION)
        shards = set(session.scalars(select(ShardRow.shard).where(ShardRow.extraction_id == EXTRACTION)))
        assert row.manifest is not None, row.error
    found = ExtractionManifest.model_validate_json(read_verified(open_blobs(world.store.url), row.manifest))
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
    """Read published results: bodies by message id. The same result published twice is one result."""

    def read(channel: Any) -> None:
        while True:
            method, properties, body = channel.basic_get("ledger.results", auto_ack=True)
            if method is None:
                return
            results[properties.message_id] = body.decode()

    tap._publisher.do(read)
    return results
