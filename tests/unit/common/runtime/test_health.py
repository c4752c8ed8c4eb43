"""Health answers while nothing else does."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import anyio.to_thread
import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from primitives.training.v1 import training_pb2, training_pb2_grpc

from services.annotation.sessions import Sessions
from services.common.grpc import CALLS, STREAMS
from services.common.http.app import create_app
from tests.fakes.annotation import Annotation
from tests.fakes.halves import connect
from tests.fakes.serving import NAME, serving_http, training_channel

PROBE_S = 30.0
"""Longer than a probe waits, for slow machines: without threads of its own, health would not answer at all."""


class Hanging:
    """A dependency that does not answer until `released` is set."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self._calls = threading.Semaphore(0)

    def wait(self) -> None:
        """Hang, as a call of a store that does not answer."""
        self._calls.release()
        self.released.wait()

    def wait_for_calls(self, number: int) -> None:
        """Return when this number of calls hangs."""
        for _ in range(number):
            assert self._calls.acquire(timeout=60)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    dependency = Hanging()
    yield dependency
    dependency.released.set()


@contextmanager
def hanging_calls(base: str, path: str, hanging: Hanging, number: int) -> Iterator[None]:
    """Begin calls that hang until the end of the block."""
    port = int(base.rpartition(":")[2])
    request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\ncookie: primitives_session=x\r\n\r\n".encode()
    connections = [connect(port, request) for _ in range(number)]
    try:
        yield
    finally:
        hanging.released.set()
        for connection in connections:
            connection.close()


def assert_healthy(base: str) -> None:
    """Check that both routes of health answer. A service that was not started is not ready."""
    for path in ("/healthz", "/readyz"):
        assert httpx.get(f"{base}{path}", timeout=PROBE_S).status_code in (200, 503)


def worker_threads() -> int:
    """Return how many threads the HTTP server has for calls."""

    async def threads() -> int:
        return int(anyio.to_thread.current_default_thread_limiter().total_tokens)

    return anyio.run(threads)


def test_health_answers_while_all_worker_threads_wait(hanging: Hanging) -> None:
    """The calls that hang occupy every thread, and more calls wait for one."""
    app, threads = create_app("training", lambda: True), worker_threads()
    app.get("/v1/runs")(hanging.wait)
    with serving_http(app) as base, hanging_calls(base, "/v1/runs", hanging, threads + 10):
        hanging.wait_for_calls(threads)
        assert_healthy(base)


def test_health_answers_while_an_error_page_waits(
    hanging: Hanging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error page names the reader of the session. It waits for the records in a thread, not on the event loop."""
    world = Annotation(tmp_path)
    monkeypatch.setattr(Sessions, "reader", lambda *_: hanging.wait())
    with serving_http(world.app) as base, hanging_calls(base, "/no-such-page", hanging, 1):
        hanging.wait_for_calls(1)
        assert_healthy(base)


def test_grpc_health_answers_while_all_threads_wait(hanging: Hanging) -> None:
    """Checks and watches of health have threads of their own."""

    class Servicer(training_pb2_grpc.TrainingServiceServicer):
        def GetRun(
            self, request: training_pb2.GetRunRequest, context: grpc.ServicerContext
        ) -> training_pb2.GetRunResponse:
            hanging.wait()
            return training_pb2.GetRunResponse()

    number = CALLS + STREAMS
    with training_channel(Servicer()) as channel, ThreadPoolExecutor(number + 10) as callers:
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        calls = [callers.submit(stub.GetRun, training_pb2.GetRunRequest(), timeout=120) for _ in range(number + 10)]
        hanging.wait_for_calls(number)
        health, request = health_pb2_grpc.HealthStub(channel), health_pb2.HealthCheckRequest(service=NAME)
        assert health.Check(request, timeout=PROBE_S).status == health_pb2.HealthCheckResponse.SERVING
        watch = health.Watch(request, timeout=PROBE_S)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        hanging.released.set()
        assert [call.result() for call in calls] == [training_pb2.GetRunResponse()] * len(calls)
