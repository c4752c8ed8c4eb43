"""The backup drill of docs/operations.md: dump and copy while the services work, then restore elsewhere."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from deploy.local.servers import Server, start_s3
from services.common.blobs import open_blobs
from tests.integration.embedded import Embedded
from tests.integration.test_objects import BUCKETS, all_reads, output_of
from tests.integration.test_plan import import_data, start_plan
from tests.servers import fresh_database

LATER = {"split": "test", "layers": ["layer2"], "top_k": 3}


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[list[Server]]:
    """Two independent S3 servers."""
    servers = [start_s3(tmp_path / name) for name in ("s3-here", "s3-elsewhere")]
    yield servers
    for server in servers:
        server.kill()


def stack(home: Path, database: str, store: str) -> Embedded:
    """Return the embedded form over a database and a store, not started."""
    embedded = Embedded(home)
    embedded.environment |= {"PRIMITIVES_RECORDS_URL": database, "PRIMITIVES_BLOBS_URL": store}
    return embedded


@contextmanager
def at_work(home: Embedded) -> Iterator[None]:
    """Run the services during the block."""
    home.start()
    try:
        yield
    finally:
        home.stop()


def postgres_tool(name: str, database: str, *words: str) -> None:
    """Run pg_dump or pg_restore as the operator does."""
    program = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))[-1]
    subprocess.run([str(program), f"--dbname={plain(database)}", *words], check=True, capture_output=True, text=True)


def plain(database: str) -> str:
    """Convert SQLAlchemy's URL of a database to the form of PostgreSQL's own programs."""
    return database.replace("+psycopg", "")


def test_a_backup_restores_elsewhere(tmp_path: Path, postgres: Server, stores: list[Server]) -> None:
    """The records are dumped first and the objects copied after them, while work continues. In another database and
    another store the check finds no faults, and the services answer byte for byte as before. Objects newer than the
    dump are unreferenced there, and the collector removes them. The check names a removed object and a removed row."""
    here, elsewhere = (open_blobs(store.url) for store in stores)
    source = stack(tmp_path / "here", fresh_database(postgres), stores[0].url)
    assert source.command("migrate").returncode == 0
    dump, objects = tmp_path / "records.dump", f"folder://{tmp_path / 'objects'}"
    with at_work(source):
        dataset_id = import_data(source, tmp_path / "ddsm")
        start_plan(source, dataset_id)
        run_id = source.wait_for_plan("plan-1")["training"]["id"]
        answers = all_reads(source)
        postgres_tool("pg_dump", source.environment["PRIMITIVES_RECORDS_URL"], "--format=custom", f"--file={dump}")
        start_plan(source, dataset_id, plan_id="plan-2", network={"run_id": run_id}, extraction=LATER)
        source.wait_for_plan("plan-2")
        copied = output_of(source, 0, "copy-objects", "--to", objects)
    assert {bucket: one["objects"] for bucket, one in copied.items()} == {
        bucket: len(list(here.list(bucket))) for bucket in BUCKETS
    }

    restored = stack(tmp_path / "elsewhere", fresh_database(postgres), stores[1].url)
    database = restored.environment["PRIMITIVES_RECORDS_URL"]
    postgres_tool("pg_restore", database, "--no-owner", "--exit-on-error", str(dump))
    assert output_of(restored, 0, "copy-objects", "--from", objects, "--to", stores[1].url) == copied
    checked = output_of(restored, 0, "check", "--deep")
    assert (checked["deep"], checked["faults"]) == (True, [])
    assert [len(checked["unnamed"][bucket]["manifests"]) for bucket in BUCKETS[1:]] == [1, 1]
    collected = {one["bucket"]: one["removed"] for one in output_of(restored, 0, "gc", "--grace-h", "0")["services"]}
    assert collected == {bucket: one["objects"] for bucket, one in checked["unnamed"].items()}
    with at_work(restored):
        assert all_reads(restored) == answers
    nothing = {bucket: {"objects": 0, "bytes": 0, "manifests": []} for bucket in BUCKETS}
    checked |= {"unreferenced": nothing, "unnamed": nothing}
    assert output_of(restored, 0, "check", "--deep") == checked

    lost = next(key for key in elsewhere.list("activation-extraction") if "/layer4/top-" in key)
    content = elsewhere.get("activation-extraction", lost)
    elsewhere.delete("activation-extraction", lost)
    [fault] = output_of(restored, 1, "check")["faults"]
    assert (fault["kind"], fault["what"]) == ("missing", f"activation-extraction/{lost}")
    assert fault["named_by"].startswith("extraction ")
    elsewhere.put("activation-extraction", lost, content)

    with psycopg.connect(plain(database)) as connection:
        connection.execute("DELETE FROM patch_rendering.groups")
        [(key,)] = connection.execute("DELETE FROM patch_rendering.renderings RETURNING manifest->>'key'").fetchall()
    report = output_of(restored, 1, "check")
    assert key in report["unnamed"]["patch-rendering"]["manifests"]
    assert {fault["kind"] for fault in report["faults"]} == {"disowned"}
    assert f"patch-rendering/{key}" in {fault["what"] for fault in report["faults"]}
