"""A large annotation service under many readers: times of lists and saves, statements of each page, and exports.

The bench starts PostgreSQL, fills it, and starts the annotation service as a process of its own. Readers, service and
database share the machine, as in the smallest installation.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import httpx
import psycopg
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from bench.annotation_readers import (
    LIST,
    SAVE,
    SHOWN_ERRORS,
    Answers,
    BrowsingReader,
    percentiles,
    read_concurrently,
)
from bench.annotation_rows import PROTOCOL_STUDY, Rows, fill, store_pack, survey_called
from bench.exports import TARGET_MB, TARGET_S, measure
from bench.machine import await_quiet, machine_facts
from bench.statements import recorded_statements
from deploy.local.servers import Server, free_ports, start_postgres
from services.annotation.main import MIGRATIONS, create_web
from services.annotation.picture import Picture
from services.annotation.settings import AnnotationSettings
from services.annotation.tables import Base, ReadingLogRow, ResponseLogRow
from services.cli.client import is_ready
from services.common.blobs import open_blobs
from services.common.bus import MemoryBus
from services.common.errors import Unavailable
from services.common.observability.logs import configure_logs
from services.common.records import Leases, Outbox, migrate, now, open_records
from services.common.settings import Shared
from services.common.work.ports import Ports

TARGETS = {"list_p95_ms": 300, "save_p95_ms": 150, "errors": 0}
START_LIMIT_S = 120.0
SERVICE = "annotation"
FEW = Rows(items=100, to_do=10, surveys=2, units=100, readers=4, groups=2)
"""The rows of the other size at which statements are counted."""
EXPORTS = {
    "responses, csv": f"{survey_called(0)}/responses/export.csv",
    "responses, jsonl": f"{survey_called(0)}/responses/export.jsonl",
    "responses, parquet": f"{survey_called(0)}/responses/export.parquet",
    "readings, csv": f"{PROTOCOL_STUDY}/protocols/1/export.csv",
}


@dataclass(frozen=True)
class Sizes:
    """The rows, the seconds of measuring, and the seconds between the items of a reader."""

    rows: Rows
    seconds: float
    item_s: float
    waits: bool
    """Whether the readers begin when the machine is quiet, or after a minute."""


FULL = Sizes(
    Rows(items=50_000, to_do=200, surveys=5, units=10_000, readers=50, groups=5), seconds=60.0, item_s=15.0, waits=True
)
QUICK = Sizes(
    Rows(items=1000, to_do=50, surveys=2, units=500, readers=8, groups=2), seconds=4.0, item_s=1.0, waits=False
)


def bench_annotation(sizes: Sizes) -> dict[str, Any]:
    """Return the figures that docs/bench.md explains."""
    machine = machine_facts()
    configure_logs("json", "error")
    with own_database() as (server, home):
        few, many = (settings_of(home, new_database(server, name)) for name in ("few", "many"))
        pictures = store_pack(open_blobs(many.blobs()))
        begin = time.perf_counter()
        for shared, rows in ((few, FEW), (many, sizes.rows)):
            fill_records(shared, rows, pictures)
        filled_s = round(time.perf_counter() - begin, 1)
        statements = {"statements_of_few": count_statements(few), "statements": count_statements(many)}
        with serving(home, many) as (base, process):
            if sizes.waits:
                machine["busy_before"] = await_quiet()
            figures = reading_figures(base, many, sizes)
            exports = {name: measure(f"{base}/v1/studies/{path}", process) for name, path in EXPORTS.items()}
    return {
        "bench": SERVICE,
        "units": sizes.rows.all_units,
        "readings": sizes.rows.readings,
        "responses": sizes.rows.responses,
        **figures,
        **statements,
        "export_rows": {"responses": sizes.rows.responses_of_survey, "readings": sizes.rows.readings},
        "exports": exports,
        "export_targets": {"seconds": TARGET_S, "growth_mb": TARGET_MB},
        "filled_s": filled_s,
        "machine": machine,
    }


def reading_figures(base: str, shared: Shared, sizes: Sizes) -> dict[str, Any]:
    """Let the readers work. Returns times, errors, and the saved answers that the records lack afterwards."""
    begin = now()
    answers, people = read_concurrently(base, sizes.rows.readers, sizes.seconds, sizes.item_s)
    saves = answers.of_group(SAVE)
    return {
        "readers": sizes.rows.readers,
        "seconds": sizes.seconds,
        "item_s": sizes.item_s,
        "items": sum(one.items for one in people),
        "items_due": sum(one.due(sizes.seconds, sizes.item_s) for one in people),
        "list_p95_ms": percentiles(answers.of_group(LIST)).get("p95_ms"),
        "save_p95_ms": percentiles(saves).get("p95_ms"),
        "errors": len(answers.errors),
        "messages": answers.errors[:SHOWN_ERRORS],
        "lost": len(saves) - logged_since(shared, begin),
        "targets": TARGETS,
        "calls": {name: percentiles(times) for (_, name), times in sorted(answers.seconds.items())},
    }


@contextmanager
def own_database() -> Iterator[tuple[Server, Path]]:
    """Start PostgreSQL in a folder that its user can use. Yields it, and a home for the service; both are removed."""
    with tempfile.TemporaryDirectory(prefix="bench-annotation-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = start_postgres(folder / "postgres")
        try:
            yield server, folder / "home"
        finally:
            server.stop()


def new_database(server: Server, name: str) -> str:
    """Make an empty database and return its URL."""
    with psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server.url.rpartition('/')[0]}/{name}"


def settings_of(home: Path, records_url: str) -> Shared:
    """The settings of the service, whatever the environment says."""
    return Shared(
        home=home, bus_url="memory://", blobs_url="", records_url=records_url, host="127.0.0.1", tokens_file=None,
        tls_certificate=None, tls_key=None,
    )  # fmt: skip


def fill_records(shared: Shared, rows: Rows, pictures: list[Picture]) -> None:
    """Migrate and fill the tables of a database."""
    records = open_records(shared.records(SERVICE))
    migrate(records, MIGRATIONS)
    fill(records, rows, pictures)
    records.close()


def count_statements(shared: Shared) -> dict[str, int]:
    """The number of SQL statements of each page, called for the second time, and of each save."""
    records = open_records(shared.records(SERVICE))
    bus, tables = MemoryBus(), Base.metadata.tables
    ports = Ports(
        bus, open_blobs(shared.blobs()), records, Outbox(records, tables["outbox"], bus),
        Leases(records, tables["leases"]),
    )  # fmt: skip
    app = create_web(AnnotationSettings(shared=shared), ports)
    counts = {}
    with TestClient(app, base_url="http://127.0.0.1", follow_redirects=False) as client:
        # Its methods are those of httpx.Client.
        person = BrowsingReader(cast(httpx.Client, client), 0, Answers())
        person.begin()
        for call in person.every_call().values():
            call()
        for name, call in (person.every_call() | person.every_save()).items():
            with recorded_statements(records.engine) as executed:
                call()
            counts[name] = len(executed)
    assert person.answers.errors == [], person.answers.errors
    records.close()
    return counts


@contextmanager
def serving(home: Path, shared: Shared) -> Iterator[tuple[str, int]]:
    """Run the annotation service as a process. Yields its address and the number of the process."""
    port, grpc_port = free_ports(2)
    cleared = {name: value for name, value in os.environ.items() if not name.startswith("PRIMITIVES_")}
    environment = cleared | {
        "PRIMITIVES_HOME": str(home),
        "PRIMITIVES_RECORDS_URL": shared.records_url,
        "PRIMITIVES_LOG_LEVEL": "error",
        "PRIMITIVES_ANNOTATION_HTTP_PORT": str(port),
        "PRIMITIVES_ANNOTATION_GRPC_PORT": str(grpc_port),
    }
    base, log = f"http://127.0.0.1:{port}", home / "service.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "services.annotation.main"]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while not is_ready(base):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"the service of the bench did not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield base, process.pid
    finally:
        process.terminate()
        process.wait()


def logged_since(shared: Shared, begin: datetime) -> int:
    """The number of answers in the logs that were saved since a moment."""
    records = open_records(shared.records(SERVICE))
    readings = select(func.count()).where(ReadingLogRow.saved >= begin, ReadingLogRow.kind == "answer")
    responses = select(func.count()).where(ResponseLogRow.saved >= begin)
    with records.reading() as session:
        found = (session.scalar(readings) or 0) + (session.scalar(responses) or 0)
    records.close()
    return found
