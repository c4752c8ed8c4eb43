"""The ledger of outages: records, store and broker are away, a standby answers, clocks differ, a job hangs.

Nobody lays a hand on the work, and the number of attempts is the default. `stranded` counts work that has not ended.
"""

import os
import signal
import time
from collections.abc import Callable

import pytest
from primitives.activation_extraction.v1 import events_pb2
from primitives.common.v1 import plan_pb2
from sqlalchemy import create_engine, func, select, text

from deploy.local.servers import start_postgres, start_rabbitmq
from services.activation_extraction.tables import ExtractionRow
from services.common.blobs import open_blobs
from services.common.bus import encode
from services.common.bus.rabbit import RabbitBus
from services.common.records import ACTIVE, open_records
from tests.chaos import test_ledger as ledger
from tests.chaos.world import LAYERS, World, run_completed, undisturbed, wait_for
from tests.fakes.data import store_checkpoint, store_dataset

pytestmark = pytest.mark.long

AWAY_S = float(os.environ.get("OUTAGE_S", "60"))
"""How long each part is away. 3600 shows an hour."""
SHARDS = 60
WORKERS = 2


def stay_away() -> None:
    """Let the outage last."""
    time.sleep(AWAY_S)


def database_away(world: World) -> None:
    """Stop the database, and start it again."""
    port = int(world.database.url.rsplit(":", 1)[1].split("/")[0])
    world.database.kill()
    stay_away()
    world.database = start_postgres(world.postgres_folder, port)


def store_away(world: World) -> None:
    """Have the store refuse every call."""
    world.front.mode = "refuse"
    stay_away()
    world.front.mode = "pass"


def broker_away(world: World) -> None:
    """Stop the broker, and start it again."""
    port = int(world.broker.url.rsplit(":", 1)[1].split("/")[0])
    world.broker.kill()
    stay_away()
    world.broker = start_rabbitmq(world.folder / "rabbitmq", port)


def all_away_in_turns(world: World) -> None:
    """One outage after the other."""
    for outage in (database_away, store_away, broker_away):
        outage(world)


def standby_answers(world: World) -> None:
    """The database only reads, as a standby does after a failover, and then writes again."""
    engine = create_engine(world.database.url, isolation_level="AUTOCOMMIT")
    for state in ("on", "off"):
        with engine.connect() as connection:
            connection.execute(text("set default_transaction_read_only = off"))
            connection.execute(text(f"alter database primitives set default_transaction_read_only = {state}"))
            others = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
            connection.execute(text(f"{others} and pid <> pg_backend_pid()"))
        if state == "on":
            stay_away()
    engine.dispose()


def a_job_hangs(world: World) -> None:
    """A child stops: it neither works nor ends, while its service renews the lease."""
    wait_for(lambda: bool(world.children()))
    os.kill(world.children()[0], signal.SIGSTOP)


def nothing(_world: World) -> None:
    """The clock of one worker is five minutes ahead; nothing else happens."""


def stranded(world: World) -> int:
    """Return the number of tasks that have not ended."""
    with ledger._records[world.folder].reading() as session:
        return session.scalar(select(func.count()).where(ExtractionRow.state.in_(ACTIVE))) or 0


OUTAGES = [database_away, store_away, broker_away, all_away_in_turns, standby_answers, a_job_hangs, nothing]


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.__name__)
def test_all_work_ends(world: World, outage: Callable[[World], None], capsys: pytest.CaptureFixture[str]) -> None:
    """After the outage every shard is in the one result, which is correct, and no task is left unfinished."""
    world.shards = SHARDS
    blobs = open_blobs(world.store.url)
    data, dataset = store_dataset(blobs, world.folder / "ddsm", {"train": 3, "val": SHARDS}, shard_patches=1)
    checkpoint, _ = store_checkpoint(blobs, data.manifest, "test_resnet", 64)
    expected = undisturbed(world, dataset, checkpoint, SHARDS)
    options = {"PRIMITIVES_MAX_ATTEMPTS": "5", "PRIMITIVES_JOB_SILENCE_S": "20", "PRIMITIVES_RECONCILE_S": "10"}
    for number in range(WORKERS):
        world.start_worker(CHAOS_AHEAD_S=str(300 * number), **options)
    ledger._records[world.folder] = open_records(f"{world.database.url}?schema=activation_extraction")
    tap = RabbitBus([world.broker.url])
    tap.declare("ledger.results", [events_pb2.ExtractionCompleted.DESCRIPTOR.full_name])
    wait_for(lambda: (world.folder / "worker.log").read_text().count("service started") == WORKERS)
    extraction = plan_pb2.PlanExtraction(split="val", layers=LAYERS, top_k=8, batch_size=4)
    tap.publish(encode(run_completed(dataset, checkpoint, extraction)))
    wait_for(lambda: ledger.recorded_shards(world.folder) >= SHARDS // 10)
    outage(world)
    assert not ledger.done(world.folder) or outage is nothing, "the work ended before the outage"
    wait_for(lambda: ledger.done(world.folder))
    result = ledger.count(world, tap, expected) | {"stranded": stranded(world)}
    tap.close()
    with capsys.disabled():
        print(f"\n{outage.__name__}, {AWAY_S:.0f} s: {result}")
    assert result == {"accepted": SHARDS, "completed": SHARDS, "lost": 0, "duplicated": 0, "wrong": 0, "stranded": 0}
