"""Passwords, keys and tokens appear in no log line, error, response or record, whatever fails. The failures are real:
no server listens, the password is wrong, or an unescaped password breaks the URL."""

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
import structlog
from fastapi.testclient import TestClient
from primitives.training.v1 import events_pb2, training_pb2, training_pb2_grpc
from typer.testing import CliRunner

from deploy.local.servers import Server, free_port
from services.annotation.clients.http import ServiceClient
from services.cli import client
from services.cli.main import app as command
from services.common.access.edge import Edge
from services.common.blobs import open_blobs
from services.common.bus import Consumer, MemoryBus, encode, open_bus
from services.common.errors import InvalidInput, JobFailed, PrimitivesError, Unavailable
from services.common.grpc import GrpcServer
from services.common.http.app import create_app
from services.common.observability.logs import configure_logs
from services.common.records import open_records
from services.common.settings import Shared
from services.common.work.jobs import Job, JobFunction
from services.common.work.runner import JobRunner

SECRET = "S3CR3T-canary-8f0d"
UNESCAPED = f"{SECRET}/x#y?z"
ReadOutput = Callable[[], str]
URL = f"amqp://user:{SECRET}@broker:5672/%2F"


@pytest.fixture(autouse=True)
def all_logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Logging of every line, and few and short attempts, because every call fails again."""
    before = structlog.get_config()
    configure_logs("json", "debug")
    monkeypatch.setattr("services.common.bus.publisher.PUBLISH_LIMIT_S", 0.5)
    monkeypatch.setattr("services.common.blobs.s3.ATTEMPTS", 2)
    monkeypatch.setattr("services.common.blobs.s3.FIRST_WAIT_S", 0.01)
    yield
    structlog.configure(**before)


@pytest.fixture
def output(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> ReadOutput:
    """Return what was written since the last call: by us to standard error, and by libraries to their logs."""
    caplog.set_level(logging.DEBUG)

    def since() -> str:
        shown = "".join(capfd.readouterr()) + caplog.text
        caplog.clear()
        return shown

    return since


def use_bus(url: str) -> None:
    bus = open_bus(url)
    try:
        bus.declare("secrets.jobs", [])
    finally:
        bus.close()


def use_blobs(url: str) -> None:
    open_blobs(url).put("secrets-bucket", "a/b", b"content")


def use_records(url: str) -> None:
    open_records(f"{url}?schema=secrets").close()


def at(server: Server) -> str:
    """Return HOST:PORT of a server."""
    return server.url.split("@")[1].split("/")[0].split("?")[0]


def broken_urls(nowhere: str) -> list[tuple[Callable[[str], None], str]]:
    """Yield each port's URL, once without a server at its host and once broken by an unescaped password."""
    return [
        (use_bus, f"amqp://user:{SECRET}@{nowhere}/%2F"),
        (use_bus, f"amqp://user:{UNESCAPED}@{nowhere}/%2F"),
        (use_bus, f"redis://user:{SECRET}@{nowhere}"),
        (use_blobs, f"s3://KEY:{SECRET}@{nowhere}?secure=false"),
        (use_blobs, f"s3://KEY:{UNESCAPED}@{nowhere}?secure=false"),
        (use_blobs, f"gs://KEY:{SECRET}@{nowhere}"),
        (use_records, f"postgresql+psycopg://user:{SECRET}@{nowhere}/db"),
        (use_records, f"postgresql+psycopg://user:{UNESCAPED}@{nowhere}/db"),
        (use_records, f"mysql://user:{SECRET}@{nowhere}/db"),
    ]


def all_output(call: Callable[[], object], output: ReadOutput) -> str:
    """Return the message of a call's error, its traceback with all causes, and the log lines of the call."""
    with pytest.raises(PrimitivesError) as failure:
        call()
    logged = output()
    return f"{failure.value} {failure.value!s} {''.join(traceback.format_exception(failure.value))} {logged}"


def test_no_port_shows_its_secret_when_it_cannot_be_opened(output: ReadOutput) -> None:
    """The secret is not shown when no server listens, the scheme is unknown, or the password breaks the URL."""
    for use, url in broken_urls(f"127.0.0.1:{free_port()}"):
        assert SECRET not in all_output(lambda use=use, url=url: use(url), output), url  # type: ignore[misc]


def test_no_refused_secret_is_shown(rabbitmq: Server, s3: Server, output: ReadOutput) -> None:
    """The error of a wrong password at the broker, or of a wrong secret at the store, says that it was denied."""
    shown = all_output(lambda: use_bus(f"amqp://guest:{SECRET}@{at(rabbitmq)}/%2F"), output)
    assert "ProbableAuthenticationError" in shown or "ACCESS_REFUSED" in shown
    assert SECRET not in shown
    shown = all_output(lambda: use_blobs(f"s3://primitives:{SECRET}@{at(s3)}?secure=false"), output)
    assert "the store denies secrets-bucket" in shown
    assert SECRET not in shown


def test_the_command_shows_no_secret(output: ReadOutput, tmp_path: Path) -> None:
    """`primitives` prints no secret when a store, a database or a broker does not answer, or when an option holds a
    URL."""
    nowhere = f"127.0.0.1:{free_port()}"
    home = {"PRIMITIVES_HOME": str(tmp_path)}
    database = f"postgresql+psycopg://user:{SECRET}@{nowhere}/db"
    for words, environment in (
        (["migrate"], {"PRIMITIVES_RECORDS_URL": database}),
        (["check"], {"PRIMITIVES_RECORDS_URL": database}),
        (["recover"], {"PRIMITIVES_BUS_URL": f"redis://user:{SECRET}@{nowhere}"}),
        (["copy-objects", "--to", f"s3://KEY:{UNESCAPED}@{nowhere}"], {}),
        (["copy-objects", "--to", f"gs://KEY:{SECRET}@{nowhere}"], {}),
    ):
        ended = CliRunner().invoke(command, words, env=home | environment)
        assert isinstance(ended.exception, PrimitivesError), (words, ended.output)
        trace = "".join(traceback.format_exception(ended.exception))
        assert SECRET not in f"{ended.output} {ended.exception} {trace} {output()}"


@pytest.mark.parametrize("token", [f"{SECRET}\nx", f"{SECRET} x", f"{SECRET}ä"])
def test_a_malformed_token_is_not_quoted(token: str, monkeypatch: pytest.MonkeyPatch, output: ReadOutput) -> None:
    """The client would quote a header that it cannot send. The command and the pages refuse such a token before
    that."""
    monkeypatch.setenv("PRIMITIVES_TOKEN", token)
    nowhere = f"http://127.0.0.1:{free_port()}"
    assert SECRET not in all_output(lambda: client.get(nowhere, "/v1/runs"), output)
    assert SECRET not in all_output(lambda: ServiceClient("training service", nowhere, Shared()), output)


def test_a_good_token_is_not_shown_when_nobody_answers(monkeypatch: pytest.MonkeyPatch, output: ReadOutput) -> None:
    """The token is neither in the error nor in the log. A newline after it, as files have one, is accepted."""
    monkeypatch.setenv("PRIMITIVES_TOKEN", f"{SECRET}\n")
    assert SECRET not in all_output(lambda: client.get(f"http://127.0.0.1:{free_port()}", "/v1/runs"), output)


LEAK: JobFunction[None, None] = JobFunction(f"{__name__}:leak")


@LEAK.implements
def leak(_job: Job, _spec: None) -> None:
    """Fail with a URL in the message, as libraries do."""
    raise ValueError(f"cannot reach {URL}")


def test_a_failed_job_shows_no_secret(output: ReadOutput) -> None:
    """The error for the task's record and the log line with the child's traceback show no secret."""
    runner = JobRunner("secrets", "json", "debug")
    try:
        with pytest.raises(JobFailed, match=r"user:\*\*\*@broker") as failed:
            runner.run(LEAK, None)
    finally:
        runner.close()
    assert SECRET not in str(failed.value)
    assert SECRET not in output()


@pytest.mark.parametrize("error", [ValueError, InvalidInput])
def test_a_parked_message_shows_no_secret(error: type[Exception], output: ReadOutput) -> None:
    """The reason of the parked message, the reason in the task's record, and the log show no secret."""
    bus, recorded = MemoryBus(), []

    def fail(_: events_pb2.TrainSlice) -> None:
        raise error(f"cannot reach {URL}")

    consumer = Consumer(bus, "secrets.jobs", max_attempts=1)
    consumer.on(events_pb2.TrainSlice, fail, lambda _, reason: recorded.append(reason))
    consumer.declare()
    consumer.start()
    bus.send("secrets.jobs", encode(events_pb2.TrainSlice(run_id="run-1")))
    deadline = time.monotonic() + 30
    while not bus.parked("secrets.jobs"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    bus.close()
    reasons = [*recorded, *(parked.reason for parked in bus.parked("secrets.jobs"))]
    assert len(reasons) == 2 and all("user:***@broker" in reason for reason in reasons)
    assert SECRET not in output()


def test_no_response_shows_a_secret() -> None:
    """A domain error that quotes a URL is returned over HTTP and gRPC without the secret."""
    http = create_app("training", lambda: True)

    @http.get("/fail")
    def fail() -> None:
        raise Unavailable(f"cannot reach {URL}")

    assert TestClient(http).get("/fail").json()["message"] == "cannot reach amqp://user:***@broker:5672/%2F"

    class Servicer(training_pb2_grpc.TrainingServiceServicer):
        def GetRun(self, request: training_pb2.GetRunRequest, context: grpc.ServicerContext) -> None:
            raise Unavailable(f"cannot reach {URL}")

    register = training_pb2_grpc.add_TrainingServiceServicer_to_server
    server = GrpcServer("x", lambda to: register(Servicer(), to), Edge("training"), 0)
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel, pytest.raises(grpc.RpcError) as failed:
            training_pb2_grpc.TrainingServiceStub(channel).GetRun(training_pb2.GetRunRequest(), timeout=10)
        assert failed.value.details() == "cannot reach amqp://user:***@broker:5672/%2F"
    finally:
        server.stop()
