"""The HTTP and gRPC sides that all services share."""

import gc
import math
import signal
import socket
import threading

import grpc
import pytest
from fastapi.testclient import TestClient
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from primitives.training.v1 import training_pb2, training_pb2_grpc

from services.common import errors
from services.common.bus import MemoryBus
from services.common.grpc import CODE_OF, GrpcServer, code_of, to_message, to_request
from services.common.http.app import LARGEST_BODY, STATUS_OF, create_app, status_of
from services.common.runtime.service import HttpServer, serve
from services.training.schemas import EpochMetrics, StartRunRequest
from tests.fakes.serving import NAME, PLAIN, serving_http, training_channel


@pytest.mark.parametrize("kind", STATUS_OF)
def test_an_error_becomes_its_http_code(kind: type[errors.PrimitivesError]) -> None:
    """Every domain error is answered with its code, its name and its message."""
    app = create_app("training", ready=lambda: True)

    @app.get("/fail")
    def fail() -> None:
        raise kind("run 7 is away")

    answer = TestClient(app).get("/fail")
    assert answer.status_code == STATUS_OF[kind]
    assert answer.json() == {"error": kind.__name__, "message": "run 7 is away"}


def test_both_edges_have_codes_for_the_same_errors() -> None:
    """An error that is in neither table is an internal error on both sides."""
    assert STATUS_OF.keys() == CODE_OF.keys()
    assert status_of(errors.JobFailed("x")) == 500
    assert code_of(errors.JobFailed("x")) is grpc.StatusCode.INTERNAL


def test_health_readiness_and_metrics_answer() -> None:
    """/healthz answers alive, /readyz follows the service, /metrics is in Prometheus' format."""
    ready = [True]
    client = TestClient(create_app("training", ready=lambda: ready[0]))
    assert client.get("/healthz").json()["status"] == "alive"
    assert client.get("/readyz").status_code == 200
    ready[0] = False
    assert client.get("/readyz").status_code == 503
    assert "# TYPE python_info gauge" in client.get("/metrics").text


def test_grpc_has_health_reflection_and_codes() -> None:
    """A server reports its health, lists its service, and ends a failed call with the code and message of the error."""

    class Servicer(training_pb2_grpc.TrainingServiceServicer):
        def GetRun(self, request: training_pb2.GetRunRequest, context: grpc.ServicerContext) -> None:
            raise errors.NotFound(f"there is no run {request.run_id!r}")

    with training_channel(Servicer()) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=NAME), timeout=10)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        [answer] = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]), timeout=10)
        assert NAME in [service.name for service in answer.list_services_response.service]
        with pytest.raises(grpc.RpcError) as failure:
            training_pb2_grpc.TrainingServiceStub(channel).GetRun(training_pb2.GetRunRequest(run_id="r9"), timeout=10)
        assert failure.value.code() is grpc.StatusCode.NOT_FOUND
        assert failure.value.details() == "there is no run 'r9'"


def test_a_port_in_use_is_named() -> None:
    """Binding a port that is in use raises Unavailable, which names the port, on both sides."""
    app = create_app("training", ready=lambda: True)
    with serving_http(app) as base:
        port = base.rpartition(":")[2]
        with pytest.raises(errors.Unavailable, match=port):
            HttpServer(app, PLAIN, int(port))
        with pytest.raises(errors.Unavailable, match=port):
            GrpcServer("x", lambda _: None, PLAIN, int(port))


def test_a_view_becomes_a_message_with_holes_as_nan() -> None:
    """A missing number keeps its default; a number that is missing in a list becomes NaN, since lists have no holes."""
    view = EpochMetrics(
        epoch=2,
        learning_rate=0.1,
        train_loss=1.5,
        train_accuracy=0.5,
        train_auc=None,
        val_auc_by_class=[0.5, None],
        seconds=3.0,
    )
    message = to_message(view, training_pb2.EpochMetrics)
    assert (message.epoch, message.train_auc, message.val_auc_by_class[0]) == (2, 0.0, 0.5)
    assert math.isnan(message.val_auc_by_class[1])


def test_a_request_with_a_bad_field_names_it() -> None:
    """A message with values that HTTP would refuse is InvalidInput, which names the field."""
    request = training_pb2.StartRunRequest(dataset_id="dataset-1")
    request.settings.epochs = -3
    with pytest.raises(errors.InvalidInput, match=r"settings\.epochs"):
        to_request(request, StartRunRequest)


def test_an_unreadable_body_is_refused_without_quoting_it() -> None:
    """A body that is not JSON, contains a non-finite number or is too large is refused, and never sent back."""
    app = create_app("training", ready=lambda: True)

    @app.post("/runs")
    def start(request: StartRunRequest) -> None:
        raise AssertionError(request)

    client = TestClient(app, raise_server_exceptions=False)
    for body in ('{"dataset_id": NaN}', '{"dataset_id": "\\ud800"}', "{", '{"dataset_id": 1e999}'):
        answer = client.post("/runs", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["error"]) == (422, "InvalidInput"), body
    assert client.post("/runs", content="[" * 5000).status_code in (400, 422)
    large = "x" * (LARGEST_BODY + 1)
    assert client.post("/runs", content=large).status_code == 413
    chunks = iter([large[:1000].encode()] * (LARGEST_BODY // 1000 + 2))
    assert client.post("/runs", content=chunks).status_code == 413
    assert client.get("/nothing").json() == {"error": "NotFound", "message": "Not Found"}
    assert client.delete("/runs").json()["error"] == "MethodNotAllowed"


def test_a_defect_is_internal_and_named() -> None:
    """An unexpected exception ends a call with INTERNAL and its name; a long message is cut."""

    class Servicer(training_pb2_grpc.TrainingServiceServicer):
        def GetRun(self, request: training_pb2.GetRunRequest, context: grpc.ServicerContext) -> None:
            raise errors.InvalidInput("x" * 100_000) if request.run_id else ZeroDivisionError("secret")

    with training_channel(Servicer()) as channel:
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        with pytest.raises(grpc.RpcError) as defect:
            stub.GetRun(training_pb2.GetRunRequest(), timeout=10)
        assert (defect.value.code(), defect.value.details()) == (grpc.StatusCode.INTERNAL, "ZeroDivisionError")
        with pytest.raises(grpc.RpcError) as long:
            stub.GetRun(training_pb2.GetRunRequest(run_id="r"), timeout=10)
        assert (long.value.code(), len(long.value.details())) == (grpc.StatusCode.INVALID_ARGUMENT, 4000)


def test_zero_and_false_are_values_over_grpc() -> None:
    """What a caller sets to zero stays zero; what it leaves out takes the service's default."""
    options = training_pb2.StartRunRequest(dataset_id="dataset-1")
    options.settings.flips, options.settings.momentum, options.settings.warmup_steps = False, 0.0, 0
    settings = to_request(options, StartRunRequest).settings
    assert (settings.flips, settings.momentum, settings.warmup_steps) == (False, 0.0, 0)
    assert settings.epochs == StartRunRequest(dataset_id="dataset-1").settings.epochs


def test_answers_are_sent_at_once() -> None:
    """A connection does not delay small packets: an answer's body does not wait until its head is acknowledged."""
    server = HttpServer(create_app("training", ready=lambda: True), PLAIN, 0)
    with socket.create_connection(("127.0.0.1", server.port)):
        connection, _ = server._socket.accept()
    with connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    server.stop()


def test_what_a_service_starts_with_is_left_out_of_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A running service does not look at the objects of its modules in a garbage collection."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    gc.unfreeze()
    until = threading.Event()
    until.set()
    serve([], MemoryBus(), until)
    try:
        assert gc.get_freeze_count() > 100_000
    finally:
        gc.unfreeze()
