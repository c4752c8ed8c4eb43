"""The results are the same bytes for any number of workers, and whichever of them die."""

from primitives.common.v1 import plan_pb2
from primitives.training.v1 import events_pb2 as training_events
from sqlalchemy import func, select

from services.activation_extraction.tables import ExtractionRow, ShardRow
from services.common.blobs import ObjectRef, open_blobs
from services.common.blobs.port import read_verified
from services.common.bus import encode
from services.common.bus.rabbit import RabbitBus
from services.common.identity import derived_id
from services.common.records import Records, open_records
from services.imaging.manifests import ExtractionManifest
from tests.chaos.world import LAYERS, World, hashes, run_completed, undisturbed, wait_for
from tests.fakes.data import store_checkpoint, store_dataset

SHARDS, SHARD_PATCHES = 8, 12


def extract(
    world: World, records: Records, plan_id: str, event: training_events.RunCompleted, workers: int
) -> ObjectRef:
    """Run one plan's extraction with a number of workers. The first of several workers is killed after some shards."""
    extraction_id = derived_id("extraction", plan_id)
    event.plan.plan_id = plan_id

    def recorded_shards() -> int:
        with records.reading() as session:
            return session.scalar(select(func.count()).where(ShardRow.extraction_id == extraction_id)) or 0

    def ended() -> bool:
        with records.reading() as session:
            row = session.get(ExtractionRow, extraction_id)
            assert row is None or row.state != "failed", row.error
            return row is not None and row.ended

    bus = RabbitBus([world.broker.url])
    bus.publish(encode(event))
    bus.close()
    for _ in range(workers):
        world.start_worker("")
    if workers > 1:
        wait_for(lambda: recorded_shards() > 0)
        world.workers[0].kill()
    wait_for(ended)
    world.stop_workers()
    with records.reading() as session:
        manifest = session.get_one(ExtractionRow, extraction_id).manifest
    assert manifest is not None
    return manifest


def test_one_two_and_four_workers_give_the_same_bytes(world: World) -> None:
    """Eight shards by 1, 2 and 4 workers, one of them killed midway, give the results of an undisturbed run."""
    blobs = open_blobs(world.store.url)
    counts = {"train": 3, "val": SHARDS * SHARD_PATCHES}
    data, dataset = store_dataset(blobs, world.folder / "ddsm", counts, SHARD_PATCHES)
    checkpoint, _ = store_checkpoint(blobs, data.manifest, "test_resnet", 64)
    expected = undisturbed(world, dataset, checkpoint, SHARDS)
    extraction = plan_pb2.PlanExtraction(split="val", layers=LAYERS, top_k=8, batch_size=4)
    event = run_completed(dataset, checkpoint, extraction)
    world.start_worker("")  # declares its queues and migrates its tables
    wait_for(lambda: "service started" in (world.folder / "worker.log").read_text())
    world.stop_workers()
    records = open_records(f"{world.database.url}?schema=activation_extraction")
    for workers in (1, 2, 4):
        ref = extract(world, records, f"plan-{workers}", event, workers)
        found = ExtractionManifest.model_validate_json(read_verified(blobs, ref))
        assert hashes(found) == hashes(expected), workers
    records.close()
