"""Readers who read under a protocol while the service is killed: no acknowledged answer is lost, and each unit of a
balanced design is read exactly as often as planned."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from bench.lists import Sizes, fill, reader_called
from deploy.local.servers import free_ports
from services.annotation.tables import ItemRow, ProtocolReaderRow, ReadingLogRow, ReadingRow
from services.cli.migrations import migrations_of
from services.common.records import Records, migrate, open_records
from services.common.settings import Shared
from tests.chaos.test_writers import START_S, Killable
from tests.fakes.reading import FORM, NOTHING
from tests.fakes.replayed_order import replayed
from tests.servers import fresh_database

SEED = 2026
SHAMS, REPEATS = 3, 2
WRITERS = 20
ANSWERS_BETWEEN_KILLS = 30
"""Answers that are acknowledged after a start and before the next kill."""
COUNTED = ("answered", "lost", "saved twice")
"""What is counted where readers do not read their lists to the end."""


@dataclass
class SimulatedReader:
    """A reader who works through a reading list. Each call is sent again until it is acknowledged."""

    name: str
    url: str
    acknowledged: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The answers of each acknowledged reading."""
    repeated: int = 0
    stopped: Event = field(default_factory=Event)

    def work(self) -> None:
        """Answer all readings of the newest list, each after a draft, or until stopped; the current answer is
        acknowledged first."""
        with httpx.Client(base_url=self.url, headers={"x-reader": self.name}, timeout=30) as client:
            newest = self._until_answered(lambda: client.get("/v1/reading-lists")).json()["lists"][0]
            path = f"/v1/reading-lists/{newest['study_id']}/{newest['version']}/readings"
            places = self._until_answered(lambda: client.get(path)).json()["readings"]
            for at, place in enumerate(places):
                if self.stopped.is_set():
                    return
                self._read(client, place["reading_id"], FORM if at % 3 else NOTHING)

    def _read(self, client: httpx.Client, reading_id: str, answers: dict[str, Any]) -> None:
        path = f"/v1/readings/{reading_id}"
        self._until_answered(lambda: client.get(path))
        self._until_answered(lambda: client.put(f"{path}/draft", json={"answers": {"description": "half"}}))
        body = {"answers": answers, "misfits": [], "idempotency_key": reading_id}
        saved = self._until_answered(lambda: client.put(f"{path}/answer", json=body))
        assert saved.json()["answer_version"] == 1
        self.acknowledged[reading_id] = answers

    def _until_answered(self, call: Callable[[], httpx.Response]) -> httpx.Response:
        end = time.monotonic() + START_S
        while True:
            with suppress(httpx.TransportError):
                response = call()
                if response.is_success:
                    return response
                assert response.status_code >= 500, response.text
            assert time.monotonic() < end, f"{self.name} is not answered"
            self.repeated += 1
            time.sleep(0.05)


@contextmanager
def served_design(tmp_path: Path, url: str, readers: int, units: int) -> Iterator[tuple[Killable, Records]]:
    """Serve an open protocol from a process. Yields the process and its records."""
    records = open_records(Shared(records_url=url).records("annotation"))
    migrate(records, migrations_of("annotation"))
    fill(records, Sizes(studies=1, layers=1, units=units, answers=0, readers=readers, rounds=0))
    service = Killable(tmp_path, url, *free_ports(2))
    service.start()
    try:
        open_protocol(service.url, readers)
        yield service, records
    finally:
        service.kill()
        records.close()


@pytest.fixture
def records_url(form: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The URL of new records of a form."""
    (tmp_path / "records").mkdir()
    sqlite = f"sqlite:///{tmp_path / 'records'}"
    return fresh_database(request.getfixturevalue("postgres")) if form == "postgres" else sqlite


@pytest.mark.parametrize(
    ("readers", "units", "kills", "form"),
    [
        (8, 24, 1, "sqlite"),
        *(pytest.param(50, 500, 10, form, marks=pytest.mark.long) for form in ("sqlite", "postgres")),
    ],
)
def test_a_design_is_filled_exactly(  # the sizes, and where the test runs
    tmp_path: Path,
    readers: int,
    units: int,
    kills: int,
    form: str,
    records_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All readers read their lists to the end through kills. Then every unit has three answers of three readers, every
    acknowledged answer is stored once, and every order is that of an independent implementation."""
    total = 3 * units + readers * (SHAMS + REPEATS)
    with (
        served_design(tmp_path, records_url, readers, units) as (service, records),
        ThreadPoolExecutor(readers) as pool,
    ):
        people = [SimulatedReader(reader_called(number), service.url) for number in range(readers)]
        running = [pool.submit(one.work) for one in people]
        for kill in range(1, kills + 1):
            wait_for_answers(people, total * kill // (kills + 1))
            service.kill()
            service.start()
        for one in running:
            one.result()
        found = check(records, people, units)
    with capsys.disabled():
        print(f"\n{readers} readers, {kills} kills, {form}: {found}; sent again: {sum(one.repeated for one in people)}")
    assert found == {"answered": total, "lost": 0, "units read three times": units, "wrong orders": 0, "saved twice": 0}


@pytest.mark.parametrize(
    ("form", "kills", "period_s"),
    [("sqlite", 2, 0.0), *(pytest.param(form, 30, 2.0, marks=pytest.mark.long) for form in ("sqlite", "postgres"))],
)
def test_no_acknowledged_reading_is_lost(
    tmp_path: Path, form: str, kills: int, period_s: float, records_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """20 readers answer under a protocol while the service is killed without warning, each time when it has served for
    a period and has acknowledged some answers. In the end each acknowledged answer is stored, once and as it was
    sent."""
    units = 40 * kills + 40
    with (
        served_design(tmp_path, records_url, WRITERS, units) as (service, records),
        ThreadPoolExecutor(WRITERS) as pool,
    ):
        people = [SimulatedReader(reader_called(number), service.url) for number in range(WRITERS)]
        running = [pool.submit(one.work) for one in people]
        try:
            for _ in range(kills):
                begin = time.monotonic()
                wait_for_answers(people, acknowledged_by(people) + ANSWERS_BETWEEN_KILLS)
                time.sleep(max(0.0, period_s - (time.monotonic() - begin)))
                service.kill()
                service.start()
        finally:
            for one in people:
                one.stopped.set()
        for one in running:
            one.result()
        found = {name: count for name, count in check(records, people, units).items() if name in COUNTED}
    acknowledged = acknowledged_by(people)
    with capsys.disabled():
        print(
            f"\n{kills} kills among {WRITERS} readers of a protocol, {form}: acknowledged {acknowledged}, {found}; "
            f"sent again: {sum(one.repeated for one in people)}"
        )
    assert found == {"answered": acknowledged, "lost": 0, "saved twice": 0}
    assert acknowledged >= kills * ANSWERS_BETWEEN_KILLS


def open_protocol(url: str, readers: int) -> None:
    """Open a protocol of all units, three readers each, with controls."""
    document = {
        "title": "Design", "units": {"choose": "all"}, "readers_per_unit": 3, "seed": SEED,
        "shams": SHAMS, "repeats": REPEATS,
    }  # fmt: skip
    body = {"document": document, "readers": [reader_called(number) for number in range(readers)]}
    answer = httpx.post(f"{url}/v1/studies/study-0/protocols", json=body, timeout=120)
    assert answer.status_code == 201, answer.text


def acknowledged_by(people: list[SimulatedReader]) -> int:
    """The number of all acknowledged answers."""
    return sum(len(one.acknowledged) for one in people)


def wait_for_answers(people: list[SimulatedReader], number: int) -> None:
    """Wait until this number of answers is acknowledged."""
    end = time.monotonic() + START_S
    while acknowledged_by(people) < number:
        assert time.monotonic() < end, "the readers cannot answer"
        time.sleep(0.01)


def check(records: Records, people: list[SimulatedReader], units: int) -> dict[str, int]:
    """Count what the records have against what was acknowledged and planned."""
    with records.reading() as session:
        readings = list(session.scalars(select(ReadingRow)))
        kinds = dict(session.execute(select(ItemRow.item, ItemRow.kind)).all())
        pseudonyms = dict(session.execute(select(ProtocolReaderRow.reader_id, ProtocolReaderRow.pseudonym)).all())
        saved = Counter(session.scalars(select(ReadingLogRow.reading_id).where(ReadingLogRow.kind == "answer")))
    acknowledged = {reading_id: answers for one in people for reading_id, answers in one.acknowledged.items()}
    stored = {one.reading_id: (one.answer or {}).get("answers") for one in readings}
    of_unit: dict[int, set[str]] = {}
    by_reader: dict[str, list[ReadingRow]] = {}
    for one in readings:
        by_reader.setdefault(one.reader_id, []).append(one)
        if kinds[one.item] == "unit" and not one.is_repeat and one.answer is not None:
            of_unit.setdefault(one.item, set()).add(one.reader_id)
    wrong = 0
    for reader_id, own in by_reader.items():
        items = sorted({one.item for one in own})
        real = {item for item in items if kinds[item] == "unit"}
        expected = replayed(SEED, pseudonyms[reader_id], items, real, REPEATS)
        wrong += [(one.item, one.is_repeat) for one in sorted(own, key=lambda one: one.position)] != expected
    return {
        "answered": sum(one.answer is not None for one in readings),
        "lost": sum(stored[reading_id] != answers for reading_id, answers in acknowledged.items()),
        "units read three times": sum(len(of_unit.get(unit, ())) == 3 for unit in range(units)),
        "wrong orders": wrong,
        "saved twice": sum(count != 1 for count in saved.values()),
    }
