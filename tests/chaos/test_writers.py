"""Readers who answer while the service is killed again and again: an answer that was acknowledged is never lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest

from bench.lists import Sizes, fill, reader_called
from deploy.local.servers import free_ports
from services.annotation.schemas import MOST_UNITS
from services.cli.client import is_ready
from services.cli.migrations import migrations_of
from services.common.records import migrate, open_records
from services.common.settings import Shared
from tests.servers import fresh_database

WRITERS = 20
UNITS = 20_000
BETWEEN_KILLS = 60
"""Answers that are acknowledged after a start and before the next kill."""
START_S = 120.0


@dataclass
class Killable:
    """The annotation service as a process, with an open study."""

    folder: Path
    records_url: str
    port: int
    grpc_port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process and wait until it answers."""
        environment = os.environ | {
            "PRIMITIVES_HOME": str(self.folder / "home"),
            "PRIMITIVES_RECORDS_URL": self.records_url,
            "PRIMITIVES_ANNOTATION_HTTP_PORT": str(self.port),
            "PRIMITIVES_ANNOTATION_GRPC_PORT": str(self.grpc_port),
        }
        log = self.folder / "service.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.annotation.main"], env=environment, stdout=output, stderr=output
            )
        end = time.monotonic() + START_S
        while not is_ready(self.url):
            assert self.process.poll() is None and time.monotonic() < end, log.read_text()[-4000:]
            time.sleep(0.05)

    def kill(self) -> None:
        """End the process as a power cut of its machine would, whatever it does at this moment."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@dataclass
class Writer:
    """A reader who answers unit after unit. Each answer is sent again, with its key, until it is acknowledged."""

    number: int
    acknowledged: dict[int, str] = field(default_factory=dict)
    """The description of each acknowledged answer, by unit."""
    repeated: int = 0

    @property
    def headers(self) -> dict[str, str]:
        return {"x-reader": reader_called(self.number)}

    def work(self, url: str, stopped: Event) -> None:
        """Answer until stopped; the current answer is acknowledged first."""
        with httpx.Client(base_url=url, headers=self.headers, timeout=30) as client:
            for unit in range(UNITS):
                if stopped.is_set():
                    return
                description = f"Answer of {self.number} to {unit}."
                self._put(client, unit, description)
                self.acknowledged[unit] = description

    def _put(self, client: httpx.Client, unit: int, description: str) -> None:
        answer = {
            "recognizable": "yes", "associated": "unsure", "multiplicity": "single", "description": description,
            "idempotency_key": f"{self.number}-{unit}",
        }  # fmt: skip
        while True:
            with suppress(httpx.TransportError):
                response = client.put(f"/v1/studies/study-0/layers/layer0/units/{unit}/response", json=answer)
                if response.is_success:
                    assert response.json()["version"] == 1
                    return
                assert response.status_code >= 500, response.text
            self.repeated += 1
            time.sleep(0.05)

    def stored(self, url: str) -> list[dict[str, Any]]:
        """The answers that the service has of this reader."""
        found: list[dict[str, Any]] = []
        with httpx.Client(base_url=url, headers=self.headers, timeout=60) as client:
            while True:
                page = client.get("/v1/responses", params={"offset": len(found), "limit": MOST_UNITS}).json()
                found += page["responses"]
                if len(found) >= page["total"]:
                    return found


@contextmanager
def killable_service(folder: Path, records_url: str) -> Iterator[Killable]:
    """Fill the records with a study of many units, and serve it for the block."""
    records = open_records(Shared(records_url=records_url).records("annotation"))
    migrate(records, migrations_of("annotation"))
    fill(records, Sizes(studies=1, layers=1, units=UNITS, answers=0, readers=WRITERS, rounds=0))
    records.close()
    service = Killable(folder, records_url, *free_ports(2))
    service.start()
    try:
        yield service
    finally:
        service.kill()


@pytest.mark.parametrize(
    ("kills", "form"),
    [(2, "sqlite"), *(pytest.param(28, form, marks=pytest.mark.long) for form in ("sqlite", "postgres"))],
)
def test_no_acknowledged_answer_is_lost(
    tmp_path: Path, kills: int, form: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """20 readers answer while the service is killed without warning. In the end each acknowledged answer is there, once
    and as it was sent."""
    sqlite = f"sqlite:///{tmp_path / 'records'}"
    url = fresh_database(request.getfixturevalue("postgres")) if form == "postgres" else sqlite
    (tmp_path / "records").mkdir()
    writers, stopped = [Writer(number) for number in range(WRITERS)], Event()
    with killable_service(tmp_path, url) as service, ThreadPoolExecutor(WRITERS) as pool:
        running = [pool.submit(writer.work, service.url, stopped) for writer in writers]
        try:
            for _ in range(kills):
                wait_for_answers(writers, BETWEEN_KILLS)
                service.kill()
                service.start()
        finally:
            stopped.set()
        for one in running:
            one.result()
        stored = [{answer["unit"]: answer for answer in writer.stored(service.url)} for writer in writers]
    lost = sum(
        found.get(unit, {}).get("description") != description
        for writer, found in zip(writers, stored, strict=True)
        for unit, description in writer.acknowledged.items()
    )
    acknowledged = sum(len(writer.acknowledged) for writer in writers)
    result = {
        "acknowledged": acknowledged,
        "stored": sum(map(len, stored)),
        "lost": lost,
        "saved twice": sum(answer["version"] != 1 for found in stored for answer in found.values()),
    }
    with capsys.disabled():
        print(
            f"\n{kills} kills among {WRITERS} writers, {form}: {result}; sent again: {sum(w.repeated for w in writers)}"
        )
    assert result == {"acknowledged": acknowledged, "stored": acknowledged, "lost": 0, "saved twice": 0}
    assert acknowledged > kills * BETWEEN_KILLS


def wait_for_answers(writers: list[Writer], more: int) -> None:
    """Wait until this many more answers are acknowledged."""
    before = sum(len(writer.acknowledged) for writer in writers)
    end = time.monotonic() + START_S
    while sum(len(writer.acknowledged) for writer in writers) < before + more:
        assert time.monotonic() < end, "the readers cannot answer"
        time.sleep(0.01)
