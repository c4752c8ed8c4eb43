"""The metrics of calls, messages and jobs, with labels that have few values."""

import sys
import threading
from typing import Any

import grpc
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from google.protobuf import struct_pb2
from primitives.training.v1 import training_pb2, training_pb2_grpc
from prometheus_client import REGISTRY

from services.common.access.edge import Edge
from services.common.bus import Consumer, MemoryBus, encode
from services.common.errors import InvalidInput, JobStopped, NotFound
from services.common.http.app import create_app
from services.common.observability.instrumentation import ObservedHttp, observed_job
from services.common.observability.metrics import PATCHES_EXTRACTED, count_growth
from services.common.work import jobs
from services.common.work.runner import JobRunner
from tests.fakes.jobs import ON_A_GPU
from tests.fakes.serving import training_channel

LIMIT_S = 10.0


def value(name: str, **labels: str) -> float:
    """Return the value of a sample; 0 if there is none."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def create_observed(service: str) -> tuple[FastAPI, TestClient]:
    """Make an application, and a client of it with the middleware of the server."""
    app = create_app(service, lambda: True)
    return app, TestClient(ObservedHttp(app, service), raise_server_exceptions=False)


def test_a_call_is_measured_by_the_template_of_its_route() -> None:
    """All runs are one route. Calls that match no route, and unknown methods, are `other`."""
    app, client = create_observed("http-test")

    @app.get("/v1/runs/{run_id}")
    def get_run(run_id: str) -> None:
        if run_id == "none":
            raise NotFound("no run")
        if run_id == "defect":
            raise ZeroDivisionError

    for run_id in ("a", "b", "none", "defect"):
        client.get(f"/v1/runs/{run_id}")
    client.get("/nothing")
    client.request("BREW", "/nothing")
    name = "primitives_http_request_duration_seconds_count"
    of_route = {"service": "http-test", "method": "GET", "route": "/v1/runs/{run_id}"}
    assert [value(name, code=code, **of_route) for code in ("200", "404", "500")] == [2, 1, 1]
    assert value(name, service="http-test", method="GET", route="other", code="404") == 1
    routes = {
        sample.labels["route"]
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.labels.get("service") == "http-test"
    }
    assert routes == {"/v1/runs/{run_id}", "other"}


def test_a_service_shows_its_own_share(tmp_path: Any) -> None:
    """Of two services in one process, each shows its own samples and those of the process, and none of the other's."""
    clients = [create_observed(name)[1] for name in ("share-a", "share-b")]
    for client in clients:
        client.get("/healthz")
    shown = clients[0].get("/metrics").text
    assert 'service="share-a"' in shown and "process_cpu_seconds_total" in shown
    assert "share-b" not in shown


def test_a_grpc_call_is_measured_by_method_and_code() -> None:
    """The code is the one that the caller receives."""

    class Servicer(training_pb2_grpc.TrainingServiceServicer):
        def GetRun(self, request: training_pb2.GetRunRequest, context: grpc.ServicerContext) -> Any:
            if request.run_id:
                raise NotFound("no run")
            return training_pb2.GetRunResponse()

    with training_channel(Servicer(), Edge("grpc-test")) as channel:
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        stub.GetRun(training_pb2.GetRunRequest(), timeout=LIMIT_S)
        with pytest.raises(grpc.RpcError):
            stub.GetRun(training_pb2.GetRunRequest(run_id="r"), timeout=LIMIT_S)
    labels = {"service": "grpc-test", "method": "primitives.training.v1.TrainingService/GetRun"}
    counted_calls = [
        value("primitives_grpc_request_duration_seconds_count", code=code, **labels) for code in ("OK", "NOT_FOUND")
    ]
    assert counted_calls == [1, 1]


def test_a_message_is_measured_by_its_outcome() -> None:
    """The outcome is done or parked. A type without a handler is `unknown`, whatever its name."""
    bus, ended = MemoryBus(), threading.Semaphore(0)
    consumer = Consumer(bus, "messages-test.jobs", 3)

    def handle(content: struct_pb2.Value) -> None:
        ended.release()
        if content.number_value == 2:
            raise InvalidInput("no")

    consumer.on(struct_pb2.Value, handle)
    consumer.declare()
    consumer.start()
    for content in (struct_pb2.Value(number_value=1), struct_pb2.Value(number_value=2), struct_pb2.ListValue()):
        bus.send("messages-test.jobs", encode(content))
    for _ in range(2):
        assert ended.acquire(timeout=LIMIT_S)
    bus.send("messages-test.jobs", encode(struct_pb2.Value(number_value=3)))
    assert ended.acquire(timeout=LIMIT_S)
    bus.close()
    labels = {"service": "messages-test", "queue": "messages-test.jobs"}
    name = "primitives_message_duration_seconds_count"
    assert value(name, type="Value", outcome="done", **labels) == 2
    assert value(name, type="Value", outcome="parked", **labels) == 1
    assert value(name, type="unknown", outcome="parked", **labels) == 1


@pytest.mark.parametrize(
    ("error", "outcome"), [(None, "done"), (JobStopped("left"), "stopped"), (InvalidInput("no"), "failed")]
)
def test_a_job_is_measured_by_how_it_ended(error: Exception | None, outcome: str) -> None:
    """The outcome is a label, and the reports of the job are counted."""

    def work() -> None:
        with observed_job(f"jobs_test_{outcome}", "work") as alive:
            alive()
            alive()
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(type(error)):
            work()
    labels = {"service": f"jobs_test_{outcome}", "function": "work"}
    assert value("primitives_job_duration_seconds_count", outcome=outcome, **labels) == 1
    assert value("primitives_job_reports_total", **labels) == 2


def test_work_is_counted_by_how_much_a_report_adds() -> None:
    """Jobs report totals; the counter grows by their differences and never shrinks. A second job begins at zero."""
    before = value("primitives_patches_extracted_total", service="counted-test")
    for totals in ([8, 16, 16, 12], [8]):
        count = count_growth(PATCHES_EXTRACTED, "counted-test")
        for total in totals:
            count(total)
    assert value("primitives_patches_extracted_total", service="counted-test") - before == 24


class Cuda:
    """The part of torch.cuda that is used."""

    @staticmethod
    def is_initialized() -> bool:
        return True

    @staticmethod
    def current_device() -> int:
        return 1

    @staticmethod
    def mem_get_info(_device: int) -> tuple[int, int]:
        return 30, 80

    @staticmethod
    def memory_reserved(_device: int) -> int:
        return 40


def test_the_memory_of_a_gpu_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reserved by the child, used by all processes, and total; empty if torch is not loaded."""
    monkeypatch.setitem(sys.modules, "torch", None)
    assert jobs.gpu_memory() == {}
    monkeypatch.setitem(sys.modules, "torch", type("Torch", (), {"cuda": Cuda}))
    assert jobs.gpu_memory() == {"1": {"reserved": 40, "used": 50, "total": 80}}


def test_a_child_reports_it_to_its_parent() -> None:
    """With a job's first report; the parent shows it by device."""
    runner = JobRunner("gpu-test")
    try:
        runner.run(ON_A_GPU, None)
    finally:
        runner.close()
    assert value("primitives_gpu_memory_bytes", service="fakes", device="0", kind="reserved") == 1024
