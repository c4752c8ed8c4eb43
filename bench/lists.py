"""The lists of the annotation service with many studies and answers: milliseconds and SQL statements of each call.

The bench fills the records of an annotation service of its own, in a temporary folder, and serves it in this process
over HTTP and gRPC. It needs no other service, no broker and no object store. Every call is made on many rows and on a
tenth of them, in turns, so that other load on the machine affects both.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
from primitives.annotation.v1 import annotation_pb2 as pb
from primitives.annotation.v1 import annotation_pb2_grpc
from sqlalchemy import insert
from sqlalchemy.orm import Session

from bench.machine import machine_facts
from bench.statements import recorded_statements
from services.annotation import main as annotation
from services.annotation.reader_names import name_key
from services.annotation.settings import AnnotationSettings
from services.annotation.tables import LayerRow, ReaderRow, ResponseRow, StudyRow, UnitRow
from services.common.bus import MemoryBus
from services.common.progress import Progress
from services.common.records import Records
from services.common.runtime.service import leave_out_of_collections
from services.common.settings import Shared

TARGET_MS = 300
CALL_LIMIT_S = 120.0
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

Call = Callable[[], object]
Row = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """The rows that the bench writes, and how often it makes each call. The answers are spread evenly over all readers,
    studies and layers."""

    studies: int
    layers: int
    units: int
    """Units of each layer."""
    answers: int
    readers: int
    rounds: int


FULL = Sizes(studies=1000, layers=5, units=40, answers=100_000, readers=4, rounds=20)
QUICK = Sizes(studies=200, layers=5, units=40, answers=20_000, readers=4, rounds=5)


@dataclass(frozen=True)
class Lists:
    """A served annotation service: its calls by name, and its records."""

    calls: dict[str, Call]
    records: Records


def bench_lists(sizes: Sizes) -> dict[str, Any]:
    """Return the figures that docs/bench.md explains."""
    machine = machine_facts()
    tenth = replace(sizes, studies=max(1, sizes.studies // 10), answers=max(1, sizes.answers // 10))
    with ExitStack() as stack:
        many = stack.enter_context(serving_lists(sizes))
        few = stack.enter_context(serving_lists(tenth))
        leave_out_of_collections()  # as a service does when it has started
        return {
            "bench": "lists",
            "studies": sizes.studies,
            "layers": sizes.studies * sizes.layers,
            "answers": sizes.answers,
            "calls": {name: measure(many, few, name, sizes.rounds) for name in many.calls},
            "target_ms": TARGET_MS,
            "machine": machine,
        }


def measure(many: Lists, few: Lists, name: str, rounds: int) -> dict[str, Any]:
    """Measure one call over many rows and over few, in turns, after one of each that does not count."""
    statements = {}
    for lists in (many, few):
        with recorded_statements(lists.records.engine) as executed:
            lists.calls[name]()
        statements[lists is many] = len(executed)
    seconds = [(_seconds(many.calls[name]), _seconds(few.calls[name])) for _ in range(rounds)]
    milliseconds = [1000 * over_many for over_many, _ in seconds]
    return {
        "p50_ms": round(float(np.median(milliseconds)), 1),
        "max_ms": round(max(milliseconds), 1),
        "growth": round(float(np.median([over_many / over_few for over_many, over_few in seconds])), 2),
        "statements": statements[True],
        "statements_of_tenth": statements[False],
    }


@contextmanager
def serving_lists(sizes: Sizes) -> Iterator[Lists]:
    """Serve an annotation service with filled records, which are removed after the block."""
    with tempfile.TemporaryDirectory(prefix="bench-lists-") as folder, ExitStack() as stack:
        shared = Shared(
            home=Path(folder), bus_url="memory://", blobs_url="", records_url="", host="127.0.0.1",
            tokens_file=None, tls_certificate=None, tls_key=None,
        )  # fmt: skip
        service = annotation.create(AnnotationSettings(shared=shared, http_port=0, grpc_port=0), MemoryBus())
        stack.callback(service.ports.records.close)
        fill(service.ports.records, sizes)
        for server in (service.http, service.grpc):
            server.start()
            stack.callback(server.stop)
        client = stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{service.http.port}", timeout=CALL_LIMIT_S, follow_redirects=True)
        )
        client.post("/sign-in", data={"name": reader_called(0)}).raise_for_status()
        unbounded = [("grpc.max_receive_message_length", -1)]
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{service.grpc.port}", unbounded))
        stub = annotation_pb2_grpc.AnnotationServiceStub(channel)
        yield Lists({**http_calls(client, sizes), **grpc_calls(stub)}, service.ports.records)


def http_calls(client: httpx.Client, sizes: Sizes) -> dict[str, Call]:
    """The calls of programs, and the pages of a reader who has signed in."""

    def get(path: str, **query: str | int) -> Call:
        return lambda: client.get(path, params=query).raise_for_status()

    return {
        "list": get("/v1/studies"),
        "list, last page": get("/v1/studies", offset=max(0, sizes.studies - 100)),
        "study": get("/v1/studies/study-0"),
        "summary": get("/v1/summary"),
        "summary, last page": get("/v1/summary", offset=max(0, sizes.answers - 1000)),
        "summary of a study": get("/v1/summary", study_id="study-0"),
        "responses": get("/v1/responses"),
        "home page": get("/"),
        "page of the summary": get("/summary"),
        "page of answers": get("/answers"),
    }


def grpc_calls(stub: annotation_pb2_grpc.AnnotationServiceStub) -> dict[str, Call]:
    """The lists over gRPC."""
    metadata = (("reader", reader_called(0)),)
    return {
        "list, gRPC": lambda: stub.ListStudies(pb.ListStudiesRequest(), timeout=CALL_LIMIT_S, metadata=metadata),
        "summary, gRPC": lambda: stub.GetSummary(pb.GetSummaryRequest(), timeout=CALL_LIMIT_S, metadata=metadata),
    }


def reader_called(number: int) -> str:
    """The name of a reader."""
    return f"Reader {number + 1}"


def fill(records: Records, sizes: Sizes) -> None:
    """Write the rows of open studies, readers and answers."""
    with records.transaction() as session:
        _insert(session, ReaderRow, map(_reader, range(sizes.readers)))
        _insert(session, StudyRow, map(_study, range(sizes.studies)))
        layers = list(itertools.product(range(sizes.studies), range(sizes.layers)))
        _insert(session, LayerRow, (_layer(study, layer, sizes.units) for study, layer in layers))
        _insert(session, UnitRow, (_unit(*layer, unit) for layer in layers for unit in range(sizes.units)))
        _insert(session, ResponseRow, (_response(number, layers, sizes) for number in range(sizes.answers)))


def _insert(session: Session, table: type[Any], rows: Iterator[Row]) -> None:
    while part := list(itertools.islice(rows, 10_000)):
        session.execute(insert(table), part)


def _reader(number: int) -> Row:
    name = reader_called(number)
    return {"reader_id": f"reader-{number}", "name": name, "name_key": name_key(name), "created": BEGIN}


def _study(number: int) -> Row:
    moment = BEGIN + timedelta(minutes=number)
    return {
        "study_id": f"study-{number}", "plan_id": f"plan-{number}", "rendering_id": f"rendering-{number}",
        "title": f"Study {number}", "units_per_class": 10, "labels_shown": "after_answer", "architecture": "resnet50",
        "dataset": "sample", "notice": "Sample data.", "classes": ["normal", "benign", "cancer"],
        "extraction_id": f"extraction-{number}", "state": "completed", "error": "", "progress": Progress(),
        "created": moment, "started": moment, "finished": moment,
    }  # fmt: skip


def _layer(study: int, layer: int, units: int) -> Row:
    return {
        "study_id": f"study-{study}", "layer": f"layer{layer}", "position": layer, "units": units, "silent": 0,
        "in_subset": units // 2, "in_ranking": units, "ranking_method": "influence",
    }  # fmt: skip


def _unit(study: int, layer: int, unit: int) -> Row:
    return {
        "study_id": f"study-{study}", "layer": f"layer{layer}", "unit": unit, "silent": False, "best": 1.0,
        "in_subset": unit % 2 == 0, "in_ranking": True, "positives": 4, "statistics": {}, "pack_bucket": "bench",
        "pack_key": "pack", "sheet_offset": 0, "sheet_size": 1, "pictures": "[]",
    }  # fmt: skip


def _response(number: int, layers: list[tuple[int, int]], sizes: Sizes) -> Row:
    """Answer `number`: each reader in turn answers a unit of every layer, and then the next unit of every layer."""
    place, reader = divmod(number, sizes.readers)
    unit, layer = divmod(place, len(layers))
    return {
        "study_id": f"study-{layers[layer][0]}", "layer": f"layer{layers[layer][1]}", "unit": unit,
        "reader_id": f"reader-{reader}", "recognizable": "yes", "associated": "unsure", "multiplicity": "single",
        "description": "Spiculated margins.", "version": 1, "saved": BEGIN + timedelta(seconds=number),
    }  # fmt: skip


def _seconds(call: Call) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin
