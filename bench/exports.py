"""Exports of a large study over HTTP: seconds, size, and the memory that the serving process gains.

The bench fills tables of its own in the database that the settings name, and serves them from another process, so that
only the memory of the service is measured. The tables are removed at the end. It needs no other service.
"""

import itertools
import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import insert

from bench.export_server import RECORDS, serve_exports
from bench.machine import machine_facts
from services.annotation.protocol.document import ProtocolDocument, canonical, protocol_sha256
from services.annotation.tables import (
    Base,
    ItemRow,
    LayerRow,
    ProtocolReaderRow,
    ProtocolRow,
    ReaderRow,
    ReadingRow,
    ResponseRow,
    StudyRow,
    UnitRow,
)
from services.annotation.workflow.protocols import pseudonym
from services.common.errors import Unavailable
from services.common.progress import Progress
from services.common.records import Records, open_records
from services.common.settings import Shared

TARGET_S = 30.0
TARGET_MB = 100.0
LIMIT_S = 600.0
START_LIMIT_S = 120.0
SAMPLE_S = 0.01
STUDY = "study-bench"
LAYER = "layer4"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
PATHS = {
    "readings, csv": "protocols/1/export.csv",
    "readings, jsonl": "protocols/1/export.jsonl",
    "readings, parquet": "protocols/1/export.parquet",
    "readings, iMRMC": "protocols/1/export.imrmc.csv?question=confidence",
    "responses, csv": "responses/export.csv",
    "responses, jsonl": "responses/export.jsonl",
    "responses, parquet": "responses/export.parquet",
}

Row = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """The rows of the study: every reader reads every unit, under the protocol and in the lists."""

    units: int
    readers: int

    @property
    def answers(self) -> int:
        """The readings of the protocol; the answers in the lists are as many."""
        return self.units * self.readers


FULL = Sizes(units=2000, readers=50)
QUICK = Sizes(units=400, readers=10)


def bench_exports(shared: Shared, sizes: Sizes) -> dict[str, Any]:
    """Return the figures that docs/bench.md explains."""
    machine = machine_facts()
    with filled_records(shared, sizes), serving(shared) as (base, process):
        return {
            "bench": "exports",
            "records": shared.records(RECORDS).partition("://")[0],
            "readings": sizes.answers,
            "responses": sizes.answers,
            "exports": {name: measure(f"{base}/v1/studies/{STUDY}/{path}", process) for name, path in PATHS.items()},
            "target_s": TARGET_S,
            "target_growth_mb": TARGET_MB,
            "machine": machine,
        }


def measure(url: str, process: int) -> dict[str, float]:
    """Receive one export. `growth_mb` is the largest memory of the serving process meanwhile, less that before."""
    with watched_memory(process) as memory:
        begin = time.perf_counter()
        with httpx.stream("GET", url, timeout=LIMIT_S) as answer:
            answer.raise_for_status()
            size = sum(len(chunk) for chunk in answer.iter_raw())
        seconds = time.perf_counter() - begin
    return {
        "seconds": round(seconds, 2),
        "mb": round(size / 1e6, 4),
        "before_mb": round(memory[0], 1),
        "growth_mb": round(max(memory) - memory[0], 1),
    }


@contextmanager
def watched_memory(process: int) -> Iterator[list[float]]:
    """Collect the memory of a process in MB: before the block, and every SAMPLE_S until its end."""
    samples, ended = [_resident_mb(process)], threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_S):
            samples.append(_resident_mb(process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield samples
    finally:
        ended.set()
        watcher.join()


@contextmanager
def filled_records(shared: Shared, sizes: Sizes) -> Iterator[None]:
    """Fill tables of the bench's own in the database that the settings name. They are removed after the block."""
    records = open_records(shared.records(RECORDS))
    try:
        Base.metadata.drop_all(records.engine)
        Base.metadata.create_all(records.engine)
        fill(records, sizes)
        yield
    finally:
        Base.metadata.drop_all(records.engine)
        records.close()


@contextmanager
def serving(shared: Shared) -> Iterator[tuple[str, int]]:
    """Serve the records from another process. Yields its address and its number. Unavailable if it does not start."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve_exports, args=(shared, there), daemon=True)
    process.start()
    try:
        if not here.poll(START_LIMIT_S):
            raise Unavailable(f"the service of the bench did not start within {START_LIMIT_S:.0f} s")
        yield f"http://127.0.0.1:{here.recv()}", process.pid or 0
        here.send("stop")
    finally:
        process.join(5)
        process.kill()


def fill(records: Records, sizes: Sizes) -> None:
    """Write an open study with all its answers."""
    document = ProtocolDocument.model_validate({"title": "Bench", "units": {"choose": "all"}, "seed": 1}).resolved()
    own = {"study_id": STUDY, "version": 1}
    protocol = {"title": "Bench", "document": canonical(document), "sha256": protocol_sha256(document)}
    pairs = list(itertools.product(range(sizes.readers), range(sizes.units)))
    tables: list[tuple[type[Any], Iterator[Row]]] = [
        (StudyRow, iter([_study()])),
        (LayerRow, iter([_layer(sizes.units)])),
        (UnitRow, (_unit(unit) for unit in range(sizes.units))),
        (ReaderRow, (_reader(number) for number in range(sizes.readers))),
        (ProtocolRow, iter([own | protocol | {"items": sizes.units, "opened": BEGIN, "closed": None}])),
        (ProtocolReaderRow, (own | _member(number) for number in range(sizes.readers))),
        (ItemRow, (own | _item(unit) for unit in range(sizes.units))),
        (ReadingRow, (own | _reading(*pair) for pair in pairs)),
        (ResponseRow, (_response(*pair) for pair in pairs)),
    ]
    for table, rows in tables:
        while part := list(itertools.islice(rows, 10_000)):
            with records.transaction() as session:
                session.execute(insert(table), part)


def _study() -> Row:
    return {
        "study_id": STUDY, "plan_id": "", "rendering_id": "rendering-bench", "title": "Bench", "units_per_class": 10,
        "labels_shown": "after_list", "architecture": "resnet152", "dataset": "bench", "notice": "",
        "classes": ["normal", "cancer"], "extraction_id": "", "state": "completed", "error": "",
        "progress": Progress(), "created": BEGIN, "started": BEGIN, "finished": BEGIN,
    }  # fmt: skip


def _layer(units: int) -> Row:
    return {
        "study_id": STUDY, "layer": LAYER, "position": 0, "units": units, "silent": 0, "in_subset": units,
        "in_ranking": units, "ranking_method": "influence",
    }  # fmt: skip


def _unit(unit: int) -> Row:
    return {
        "study_id": STUDY, "layer": LAYER, "unit": unit, "silent": False, "best": 1.0, "in_subset": True,
        "in_ranking": True, "positives": unit % 9, "statistics": {}, "pack_bucket": "bench", "pack_key": "pack",
        "sheet_offset": 0, "sheet_size": 1, "pictures": "[]",
    }  # fmt: skip


def _reader(number: int) -> Row:
    return {"reader_id": f"reader-{number:012d}", "name": f"Reader {number}", "name_key": f"reader {number}"}


def _member(number: int) -> Row:
    return {"reader_id": f"reader-{number:012d}", "pseudonym": pseudonym(number)}


def _item(unit: int) -> Row:
    return {"item": unit, "kind": "unit", "layer": LAYER, "unit": unit, "shown": [[unit, 1]]}


def _reading(reader: int, unit: int) -> Row:
    moment = BEGIN + timedelta(seconds=unit)
    answers = {
        "recognizable": "yes", "multiplicity": "multiple", "phenomena": ["margin-spiculated", "other:a | bar"],
        "associated": "yes", "confidence": str(1 + (reader + unit) % 4), "description": _description(reader, unit),
    }  # fmt: skip
    return {
        "reading_id": f"reading-{reader}-{unit}", "item": unit, "slot": reader, "reader_id": f"reader-{reader:012d}",
        "position": unit + 1, "is_repeat": False, "state": "answered",
        "answer": {"answers": answers, "misfits": [1, 3]}, "answer_version": 1, "shown": moment,
        "submitted": moment + timedelta(seconds=40), "first_action_s": 3.25,
        "active_s": 31.5,
    }  # fmt: skip


def _response(reader: int, unit: int) -> Row:
    return {
        "study_id": STUDY, "layer": LAYER, "unit": unit, "reader_id": f"reader-{reader:012d}", "recognizable": "yes",
        "associated": "unsure", "multiplicity": "multiple", "description": _description(reader, unit), "version": 1,
        "saved": BEGIN + timedelta(seconds=unit), "after_reveal": False, "imported": False,
    }  # fmt: skip


def _description(reader: int, unit: int) -> str:
    """A text of about the length of an expert's, some of which begin like a formula."""
    begin = "=" if (reader + unit) % 10 == 0 else ""
    return f"{begin}Masses - can be benign or cancerous; irregular shape and blurred edges suggest cancer ({unit})."


def _resident_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
