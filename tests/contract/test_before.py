"""The code reads what earlier code has written: records, objects and messages that were not sent yet.

`before/` holds a dump of an installation, and the answers that the code of that time gave over it; `before/README.md`
says what is in it. The tests load the dump into each form of the records, start the services over it, and send the same
questions again.
"""

import hashlib
import json
import os
import sqlite3
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from services.cli.embedded import create_services
from services.cli.main import app
from services.common.bus import MemoryBus
from tests.servers import fresh_database

FOLDER = Path(__file__).parent / "before"
SERVICES = ("training", "activation_extraction", "patch_rendering", "annotation")
ANSWERS = json.loads((FOLDER / "answers.json").read_text())
ENVIRONMENT = {
    f"PRIMITIVES_{prefix}_{kind}_PORT": "0"
    for prefix in ("TRAINING", "EXTRACTION", "RENDERING", "ANNOTATION")
    for kind in ("HTTP", "GRPC")
} | {"PRIMITIVES_LOG_LEVEL": "warning", "OMP_NUM_THREADS": "1", "PRIMITIVES_RENDERING_GROUP_UNITS": "16"}
"""Free ports, and the settings with which the dump was made."""
LIMIT_S = 120.0
ERRORS = 400
"""The least status of an answer that is an error."""
CLIENT = httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0))
"""A connection a call: the second answer over a connection would wait for some 40 ms."""
TASKS = {
    "training": {"runs": "run", "evaluations": "evaluation"},
    "activation_extraction": {"extractions": "extraction", "analyses": "analysis"},
    "patch_rendering": {"renderings": "rendering"},
    "annotation": {"studies": "study"},
}
"""By service its tables of tasks, which are also the names of their paths, and the noun that their ids begin with."""


# The dump, loaded


class Installation:
    """The embedded form of the services over a home folder, in this process: torch is loaded once for all tests."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = ENVIRONMENT | {"PRIMITIVES_HOME": str(home)}
        self.urls: dict[str, str] = {}

    def command(self, *words: str) -> str:
        """Run `primitives …` on this home and return what it prints."""
        ended = CliRunner().invoke(app, words, env=self.environment)
        assert ended.exit_code == 0, (ended.output, ended.exception)
        return ended.stdout

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Start the four services as `primitives up` does, and stop them at the end of the block."""
        with patch.dict(os.environ, self.environment):
            bus = MemoryBus()
            services = create_services(bus)
            for service in services:
                service.start()
            self.urls = {service.name: f"http://127.0.0.1:{service.http.port}" for service in services}
            try:
                yield
            finally:
                bus.stop_deliveries()
                for service in services:
                    service.stop()
                bus.close()
                for service in services:
                    service.ports.records.close()

    def get(self, service: str, path: str) -> Any:
        """The JSON that a service answers at a path."""
        return CLIENT.get(f"{self.urls[service]}{path}").raise_for_status().json()

    def post(self, service: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON that a service answers to a call."""
        return CLIENT.post(f"{self.urls[service]}{path}", json=body or {}).raise_for_status().json()


def wait_for(done: Callable[[], bool]) -> None:
    """Call again and again until it is done. Fail when the time is over."""
    deadline = time.monotonic() + LIMIT_S
    while not done():
        assert time.monotonic() < deadline, f"not done within {LIMIT_S:.0f} s"
        time.sleep(0.1)


def rows_of(service: str) -> sqlite3.Connection:
    """The records of a service in memory, as the dump has them."""
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    connection.executescript((FOLDER / "records" / f"{service}.sql").read_text())
    return connection


def load_files(home: Installation) -> None:
    """Write the records of the dump as the SQLite files of a home, then bring them to the newest version."""
    (home.home / "records").mkdir(parents=True)
    for service in SERVICES:
        file = home.home / "records" / f"{service}.sqlite"
        with closing(rows_of(service)) as rows, closing(sqlite3.connect(file)) as connection:
            rows.backup(connection)
    home.command("migrate")


def load_schemas(home: Installation, database: str) -> None:
    """Write the records of the dump into schemas of PostgreSQL that have the dump's version, then bring them to the
    newest version."""
    home.command("migrate")
    engine = sa.create_engine(database)
    for service in SERVICES:
        with closing(rows_of(service)) as rows:
            [[version]] = rows.execute("SELECT version_num FROM alembic_version")
            home.command("migrate", "--service", service, "--to", version)
            copy_rows(rows, engine, service)
    engine.dispose()
    home.command("migrate")


def copy_rows(rows: sqlite3.Connection, engine: sa.Engine, schema: str) -> None:
    """Copy all rows into the tables of a schema, and let its counters continue after them."""
    metadata = sa.MetaData(schema=schema)
    metadata.reflect(engine)
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            if table.name == "alembic_version":
                continue
            for row in rows.execute(f'SELECT * FROM "{table.name}"'):
                values = {name: as_typed(table.columns[name].type, row[name]) for name in row.keys()}  # noqa: SIM118
                connection.execute(table.insert().values(values))
            if "position" in table.columns and table.columns["position"].server_default is not None:
                counter = sa.func.pg_get_serial_sequence(f"{schema}.{table.name}", "position")
                next_position = sa.select(sa.func.coalesce(sa.func.max(table.columns["position"]), 0) + 1)
                connection.execute(sa.select(sa.func.setval(counter, next_position.scalar_subquery(), False)))


def as_typed(kind: sa.types.TypeEngine[Any], value: Any) -> Any:
    """A value as SQLite keeps it, as a column of this type takes it. SQLite keeps JSON and times as text, in UTC."""
    if value is None:
        return sa.null()
    if isinstance(kind, sa.JSON):
        return json.loads(value)
    if isinstance(kind, sa.DateTime):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return bool(value) if isinstance(kind, sa.Boolean) else value


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A home that holds the dump, with its records in each form; nothing is started."""
    home = Installation(tmp_path_factory.mktemp("before") / "home")
    with tarfile.open(FOLDER / "objects.tar.xz") as archive:
        archive.extractall(home.home / "objects", filter="data")
    if request.param == "sqlite":
        load_files(home)
    else:
        database = fresh_database(request.getfixturevalue("postgres"))
        home.environment["PRIMITIVES_RECORDS_URL"] = database
        load_schemas(home, database)
    return home


@pytest.fixture(scope="module")
def served(loaded: Installation) -> Iterator[Installation]:
    """The services of today's code at work over the dump."""
    with loaded.at_work():
        yield loaded


# Questions


def answer_to(home: Installation, question: dict[str, Any]) -> dict[str, Any]:
    """The answer of today's code to a question of the dump, in the form in which the dump keeps it."""
    headers = {"x-reader": question["reader"].encode()} if question["reader"] else {}
    answer = CLIENT.get(f"{home.urls[question['service']]}{question['path']}", headers=headers)
    kind = answer.headers.get("content-type", "").partition(";")[0]
    body = answer.json() if kind.endswith("json") else {"sha256": hashlib.sha256(answer.content).hexdigest()}
    return {"status": answer.status_code, "type": kind, "answer": body}


def differences(before: Any, now: Any, place: str) -> list[str]:
    """Where an answer of today differs from what was answered before. A field that is new is no difference."""
    if isinstance(before, dict) and isinstance(now, dict):
        found = [f"{place}.{name} is missing" for name in before if name not in now]
        for name in before.keys() & now.keys():
            found += differences(before[name], now[name], f"{place}.{name}")
        return found
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [
            difference
            for number, (old, new) in enumerate(zip(before, now, strict=True))
            for difference in differences(old, new, f"{place}[{number}]")
        ]
    return [] if type(before) is type(now) and before == now else [f"{place} is {now!r}, it was {before!r}"]


def tasks_of_the_dump(*states: str) -> list[tuple[str, str, str]]:
    """Service, path and noun of the tasks that the dump has in these states, as (service, /v1/runs/run-1, run)."""
    found = []
    for service, tables in TASKS.items():
        with closing(rows_of(service)) as rows:
            for table, noun in tables.items():
                for row in rows.execute(f"SELECT {noun}_id, state FROM {table}"):
                    if row["state"] in states:
                        found.append((service, f"/v1/{table}/{row[0]}", noun))
    return found


def wait_until_completed(home: Installation, tasks: list[tuple[str, str]]) -> None:
    """Wait for the end of tasks, named by service and path. A task that fails fails the test with its reason."""

    def completed() -> bool:
        views = [home.get(service, path) for service, path in tasks]
        bad = [view for view in views if view["state"] in ("failed", "cancelled")]
        assert not bad, bad
        return all(view["state"] == "completed" for view in views)

    wait_for(completed)


# What tasks have made


def manifest_of(home: Installation, ref: dict[str, Any]) -> Any:
    """The JSON object that a reference names."""
    return json.loads((home.home / "objects" / ref["bucket"] / ref["key"]).read_bytes())


def hashes_of(home: Installation, noun: str, view: dict[str, Any]) -> list[str]:
    """The hashes of what a completed task has made, in their order; what holds times or ids is left out."""
    if noun == "run":
        return [manifest_of(home, view["checkpoint"])["weights"]["sha256"]]
    manifest = manifest_of(home, view["manifest"])
    if noun == "evaluation":
        return [manifest["predictions"]["sha256"]]
    if noun == "rendering":
        groups = [group for layer in manifest["layers"] for group in layer["groups"]]
        return [group[part]["sha256"] for group in groups for part in ("pack", "pictures", "units")]
    parts = ("table",) if noun == "analysis" else ("top", "sample", "correlation", "statistics", "ranking")
    return [layer[part]["sha256"] for layer in manifest["layers"] for part in parts]


def losses(epoch: dict[str, Any]) -> list[float]:
    """What an epoch measured, in all its digits."""
    return [epoch["train_loss"], epoch["val_loss"]]


def start_call(noun: str, view: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The path and the body of a call that starts the same task again."""
    if noun == "run":
        return "/v1/runs", {"dataset_id": view["dataset_id"], "settings": view["settings"]}
    if noun == "evaluation":
        return "/v1/evaluations", {"run_id": view["run_id"], "split": view["split"], "settings": view["settings"]}
    if noun == "analysis":
        return f"/v1/extractions/{view['extraction_id']}/analyses", view["settings"]
    if noun == "rendering":
        return "/v1/renderings", {name: view[name] for name in ("extraction_id", "size", "kind", "format")}
    return "/v1/extractions", {name: view[name] for name in ("run_id", "split", "layers", "top_k", "batch_size")}


# The expectations, in the order in which they hold


def test_records_and_objects_of_the_dump_fit(loaded: Installation) -> None:
    """Every object that the records name is there with the bytes that they name, and every object is named."""
    checked = json.loads(loaded.command("check", "--deep"))
    assert (checked["deep"], checked["faults"]) == (True, [])
    assert checked["named"] > 100
    assert {bucket: one["objects"] for bucket, one in checked["unnamed"].items()} == dict.fromkeys(
        ("training", "activation-extraction", "patch-rendering"), 0
    )


def test_every_answer_is_as_it_was(served: Installation) -> None:
    """Each question of the dump has the same status, the same fields with the same values, and the same bytes of
    pictures and figures. Messages of errors may have other words. The dump lacks the fields that change while
    unfinished work continues."""
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda question: answer_to(served, question), ANSWERS))
    found = []
    for question, now in zip(ANSWERS, answers, strict=True):
        before = {name: question[name] for name in ("status", "type", "answer")}
        if before["status"] >= ERRORS:
            before["answer"] = {"error": before["answer"]["error"]}
        found += differences(before, now, f"{question['service']} {question['path']} {question['reader']}".strip())
    assert found == []


def test_unfinished_work_of_the_dump_is_done(served: Installation) -> None:
    """What was queued or at work is completed, what was still in an outbox is sent, and no message is parked."""
    unfinished = tasks_of_the_dump("queued", "running")
    assert {service for service, _, _ in unfinished} == set(SERVICES)
    wait_until_completed(served, [(service, path) for service, path, _ in unfinished])
    for service in SERVICES:
        wait_for(lambda s=service: served.get(s, "/v1/status")["outbox"]["messages"] == 0)
        status = served.get(service, "/v1/status")
        assert {queue["name"]: queue["parked"] for queue in status["queues"] if queue["parked"]} == {}


def test_paused_work_of_the_dump_goes_on(served: Installation) -> None:
    """Each paused task keeps the parts that are done, is completed when it is resumed, and has made the same as one
    that is started now and never paused.

    The bytes are compared where this machine computes as the machine of the dump did: on another processor the last
    bits of a network may differ. A new extraction shows it for what follows the training, and the epochs that the run
    had done before it was paused show it for the training. Pictures are the same bytes on every machine.
    """
    paused = tasks_of_the_dump("paused")
    assert {noun for _, _, noun in paused} == {"run", "evaluation", "extraction", "analysis", "rendering"}
    pairs = []
    for service, path, noun in paused:
        before = served.get(service, path)
        assert before["state"] == "paused"
        if noun == "run":
            done = [losses(epoch) for epoch in before["epochs"]]
        served.post(service, f"{path}/resume")
        start, body = start_call(noun, before)
        new = served.post(service, start, body)[f"{noun}_id"]
        pairs.append((service, noun, path, f"{path.rpartition('/')[0]}/{new}"))
    wait_until_completed(served, [(service, path) for service, _, *both in pairs for path in both])
    made: dict[str, list[list[str]]] = {}
    for service, noun, *both in pairs:
        views = [served.get(service, path) for path in both]
        made[noun] = [hashes_of(served, noun, view) for view in views]
        if noun == "run":
            every = list(range(1, views[0]["settings"]["epochs"] + 1))
            assert [[epoch["epoch"] for epoch in view["epochs"]] for view in views] == [every, every]
            assert done, "the run was paused before its first epoch"
            if [losses(epoch) for epoch in views[1]["epochs"]][: len(done)] != done:
                del made["run"]
    assert made["rendering"][0] == made["rendering"][1]
    if made["extraction"][1] == hashes_of(served, "extraction", extraction_of_the_plan(served)):
        assert {noun: resumed for noun, (resumed, _) in made.items()} == {noun: new for noun, (_, new) in made.items()}


def extraction_of_the_plan(home: Installation) -> dict[str, Any]:
    """The completed extraction of the dump that has the settings of the paused one."""
    [stage] = home.get("activation_extraction", "/v1/plans/plan-done")["stages"]
    view: dict[str, Any] = home.get("activation_extraction", f"/v1/extractions/{stage['id']}")
    return view


def test_records_and_objects_fit_after_the_work(served: Installation) -> None:
    """With new work added to the work of the dump, the check finds no fault."""
    assert json.loads(served.command("check", "--deep"))["faults"] == []
