"""Traces and log lines carry the ids of the work that they belong to."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient
from google.protobuf import struct_pb2
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import MetaData, insert, select

from services.common.bus import Consumer, Envelope, ids_of
from services.common.http.app import create_app
from services.common.observability import tracing
from services.common.observability.instrumentation import ObservedHttp
from services.common.observability.logs import configure_logs, get_logger, last_error, log_ids, log_scope
from services.common.observability.tracing import add_trace_ids, configure_tracing, span, traceparent
from services.common.records import leases_table, outbox_table
from services.common.work.runner import JobRunner
from tests.fakes.jobs import LOG_SOMETHING
from tests.fakes.ports import World

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = PARENT[3:35]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The spans that end during the test."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_TRACER", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


def trace_of(one: ReadableSpan) -> str:
    return f"{one.context.trace_id:032x}"


def test_a_trace_has_an_id_without_a_collector() -> None:
    """Spans have ids, and inner spans share the trace; the SDK is not loaded for it."""
    assert traceparent() == ""
    with span("outer", "training"):
        outer = traceparent()
        with span("inner", "training"):
            assert traceparent()[3:35] == outer[3:35] == log_ids()["trace_id"]
    assert (traceparent(), log_ids()) == ("", {})
    configure_tracing("training", "")
    loaded = (
        "import services.annotation.main, sys; print([m for m in sys.modules if m.startswith('opentelemetry.sdk')])"
    )
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("parent", ["", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_broken_parent_begins_a_trace(spans: InMemorySpanExporter, parent: str) -> None:
    """An invalid traceparent is ignored."""
    with span("work", "training", parent=parent):
        pass
    [one] = spans.get_finished_spans()
    assert one.parent is None and int(trace_of(one), 16)


def test_a_call_continues_the_trace_of_its_caller(spans: InMemorySpanExporter) -> None:
    """Its span has the caller's trace, the route as its name, the code and the ids of the work; log lines have the ids.

    Health has no span.
    """
    app = create_app("training", lambda: True)
    seen: list[dict[str, str]] = []

    @app.get("/v1/plans/{plan_id}")
    def get_plan(plan_id: str) -> None:
        add_trace_ids(plan_id=plan_id, task_id="")
        seen.append(log_ids())

    client = TestClient(ObservedHttp(app, "training"))
    client.get("/v1/plans/plan-1", headers={"traceparent": PARENT})
    client.get("/healthz")
    [one] = spans.get_finished_spans()
    assert (trace_of(one), one.name) == (TRACE, "GET /v1/plans/{plan_id}")
    assert dict(one.attributes or {}) == {
        "primitives.service": "training",
        "primitives.plan_id": "plan-1",
        "http.route": "/v1/plans/{plan_id}",
        "http.response.status_code": 200,
    }
    assert seen == [{"trace_id": TRACE, "plan_id": "plan-1"}]
    assert log_ids() == {}


def make_world(tmp_path: Path) -> tuple[World, Any]:
    metadata = MetaData()
    outbox = outbox_table(metadata)
    leases_table(metadata)
    return World(tmp_path, metadata), outbox


def test_a_message_carries_its_trace_through_the_outbox(tmp_path: Path, spans: InMemorySpanExporter) -> None:
    """The parent of the handling span is the publishing span, whose parent is the span that wrote the message."""
    world, _ = make_world(tmp_path)
    sent: list[Envelope] = []
    world.bus.publish = sent.append  # type: ignore[method-assign]
    with span("cause", "training"), world.ports.records.transaction() as session:
        world.ports.outbox.publish(session, struct_pb2.Value(number_value=1))
    world.ports.outbox.flush()
    consumer = Consumer(world.bus, "annotation.events", 3)
    consumer.on(struct_pb2.Value, lambda _: None)
    consumer._deliver(sent[0])
    cause, publish, handle = spans.get_finished_spans()
    assert [one.name for one in (cause, publish, handle)] == ["cause", "publish Value", "handle Value"]
    assert publish.parent is not None and publish.parent.span_id == cause.context.span_id
    assert handle.parent is not None and handle.parent.span_id == publish.context.span_id
    assert (handle.attributes or {})["primitives.outcome"] == "done"
    assert len({trace_of(one) for one in (cause, publish, handle)}) == 1


def test_a_row_of_an_earlier_version_is_sent(tmp_path: Path) -> None:
    """A message without a trace begins a new one; a message without a time of creation has no age."""
    world, outbox = make_world(tmp_path)
    with world.ports.records.transaction() as session:
        body = {"message_id": "m", "type": "google.protobuf.Value", "body": "1", "created": None}
        session.execute(insert(outbox).values(body))
        assert session.scalar(select(outbox.c.traceparent)) == ""
    assert world.ports.outbox.lag() == (1, 0.0)
    assert len(world.sent()) == 1
    assert world.ports.outbox.lag() == (0, 0.0)


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        ('{"run_id": "r", "slice": 1}', {"run_id": "r"}),
        ('{"extraction_id": "e", "plan": {"plan_id": "p"}}', {"extraction_id": "e", "plan_id": "p"}),
        ('{"run_id": 7, "plan": {"plan_id": 7}}', {}),
        ("[1]", {}),
        ("{broken", {}),
        ("[" * 100_000, {}),
    ],
)
def test_the_ids_of_a_message_are_read_from_its_body(body: str, ids: dict[str, str]) -> None:
    """They are its fields with text, and the id of its plan; an unreadable body has none."""
    assert ids_of(Envelope("x", body)) == ids


@pytest.fixture
def _own_logs() -> Iterator[None]:
    """Restore the configuration of logs after the test."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("_own_logs")
def test_log_lines_carry_ids(capfd: pytest.CaptureFixture[str]) -> None:
    """Lines have the ids of the scope, and ids that were added in it. The newest error is stored without secrets."""
    configure_logs("json", "debug")
    log = get_logger("test")
    with log_scope(plan_id="plan-1", run_id=""), span("job", "training"):
        add_trace_ids(task_id="run-1")
        log.error("went wrong", reason="amqp://user:hidden@broker says no")
    log.info("after")
    inside, after = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert {"plan_id", "task_id", "trace_id"} < inside.keys() and "run_id" not in inside
    assert not {"plan_id", "task_id", "trace_id"} & after.keys()
    error = last_error()
    assert error is not None and error.event == "went wrong" and "hidden" not in error.reason


def test_the_lines_of_a_child_carry_the_ids_of_its_job(capfd: pytest.CaptureFixture[str]) -> None:
    """Lines have the ids of the current job, and not those of the job before."""
    runner = JobRunner("logs-test", "json", "info")
    try:
        with log_scope(plan_id="plan-1", task_id="run-1"), span("job", "training"):
            trace_id = log_ids()["trace_id"]
            runner.run(LOG_SOMETHING, None)
        runner.run(LOG_SOMETHING, None)
    finally:
        runner.close()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if "from a child" in line]
    assert [{name: line.get(name) for name in ("plan_id", "task_id", "trace_id")} for line in lines] == [
        {"plan_id": "plan-1", "task_id": "run-1", "trace_id": trace_id},
        {"plan_id": None, "task_id": None, "trace_id": None},
    ]
