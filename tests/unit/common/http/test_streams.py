"""Progress as streams: server-sent events and gRPC."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import pytest
from fastapi import FastAPI, Request, Response
from grpc_health.v1 import health_pb2, health_pb2_grpc
from primitives.training.v1 import training_pb2 as pb
from primitives.training.v1 import training_pb2_grpc
from pydantic import BaseModel

from services.common import grpc as edge_grpc
from services.common.access.edge import Edge
from services.common.errors import NotFound, Unavailable
from services.common.grpc import GrpcServer, to_message
from services.common.http import streams as streams_module
from services.common.http.app import create_app
from services.common.http.streams import LOOK_INTERVAL_S, EventStream, Streams
from services.common.runtime.service import HttpServer

LIMIT_S = 20.0


class View(BaseModel):
    """What is watched."""

    run_id: str = "run-1"
    state: str = "running"
    error: str = ""


@dataclass
class Watched:
    """A record that a test changes, and the servers that watch it."""

    streams: Streams = field(default_factory=Streams)
    view: View = field(default_factory=View)
    away: bool = False
    looks: int = 0

    def look(self, run_id: str) -> View:
        """As a query would."""
        self.looks += 1
        if run_id != "run-1":
            raise NotFound(f"there is no run {run_id!r}")
        if self.away:
            raise Unavailable("the records do not answer")
        return self.view

    def app(self) -> FastAPI:
        """An application with one stream, and one call that answers at once."""
        app = create_app("training", ready=lambda: True)

        @app.get("/runs/{run_id}/events", response_class=EventStream)
        def events(run_id: str, request: Request) -> Response:
            return self.streams.events(request, lambda: self.look(run_id), ended)

        return app

    def servicer(self) -> training_pb2_grpc.TrainingServiceServicer:
        """The same over gRPC."""
        watched = self

        class Servicer(training_pb2_grpc.TrainingServiceServicer):
            def GetRun(self, request: pb.GetRunRequest, _: grpc.ServicerContext) -> pb.GetRunResponse:
                return pb.GetRunResponse(run=to_message(watched.look(request.run_id), pb.Run))

            def WatchRun(
                self, request: pb.WatchRunRequest, context: grpc.ServicerContext
            ) -> Iterator[pb.WatchRunResponse]:
                for view in watched.streams.views(context, lambda: watched.look(request.run_id), ended):
                    yield pb.WatchRunResponse(run=to_message(view, pb.Run))

        return Servicer()


def ended(view: View) -> bool:
    return view.state == "completed"


@contextmanager
def serving(watched: Watched) -> Iterator[str]:
    """The application on a free port; its address."""
    server = HttpServer(watched.app(), Edge("training"), 0)
    server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        watched.streams.close()
        server.stop()


@contextmanager
def serving_grpc(watched: Watched) -> Iterator[tuple[grpc.Channel, GrpcServer]]:
    register = training_pb2_grpc.add_TrainingServiceServicer_to_server
    server = GrpcServer("x", lambda to: register(watched.servicer(), to), Edge("training"), 0)
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield channel, server
    finally:
        watched.streams.close()
        server.stop()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "the time is over"
        time.sleep(0.01)


def read_events(answer: httpx.Response) -> Iterator[tuple[str, View]]:
    """The id and view of each event of an answer."""
    content: dict[str, str] = {}
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if line and name:
            content[name] = value
        elif content:
            yield content["id"], View.model_validate_json(content["data"])
            content = {}


def test_an_event_a_change_until_the_end() -> None:
    """The view comes at once, then again when it has changed, and the answer ends after the last; whoever comes back
    with the id of the last is told to stay away."""
    watched = Watched()
    with serving(watched) as base, httpx.stream("GET", f"{base}/runs/run-1/events", timeout=LIMIT_S) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        events = read_events(answer)
        seen = [next(events)]
        for changed in (View(error="half"), View(state="completed")):
            watched.view = changed
            seen.append(next(events))
        assert list(events) == []
        assert [view for _, view in seen] == [View(), View(error="half"), View(state="completed")]
        assert len({name for name, _ in seen}) == 3
        path = f"{base}/runs/run-1/events"
        assert httpx.get(path, headers={"last-event-id": seen[-1][0]}).status_code == 204
        assert httpx.get(path, headers={"last-event-id": seen[0][0]}).status_code == 200


def test_what_is_not_there_is_told_before_the_stream_begins() -> None:
    """An unknown id is 404 in the words of every other call; over gRPC it is NOT_FOUND."""
    watched = Watched()
    with serving(watched) as base:
        answer = httpx.get(f"{base}/runs/run-9/events")
        assert (answer.status_code, answer.json()["error"]) == (404, "NotFound")
    watched = Watched()
    with serving_grpc(watched) as (channel, _):
        with pytest.raises(grpc.RpcError) as failure:
            list(training_pb2_grpc.TrainingServiceStub(channel).WatchRun(pb.WatchRunRequest(run_id="run-9")))
        assert failure.value.code() is grpc.StatusCode.NOT_FOUND


def test_changes_are_coalesced() -> None:
    """Between two looks only the newest view counts: about two events a second, however fast it changes."""
    watched = Watched()
    stop = threading.Event()

    def change() -> None:
        count = 0
        while not stop.wait(0.01):
            count += 1
            watched.view = View(error=str(count))
        watched.view = View(state="completed")

    thread = threading.Thread(target=change)
    with serving(watched) as base, httpx.stream("GET", f"{base}/runs/run-1/events", timeout=LIMIT_S) as answer:
        thread.start()
        began = time.monotonic()
        seen = 0
        for _ in read_events(answer):
            seen += 1
            if seen == 4:
                stop.set()
        assert seen <= 2 + (time.monotonic() - began) / LOOK_INTERVAL_S
    thread.join()


def test_an_idle_stream_has_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment line keeps the connection open when nothing changes; no event is repeated."""
    monkeypatch.setattr(streams_module, "HEARTBEAT_S", 0.0)
    with serving(Watched()) as base, httpx.stream("GET", f"{base}/runs/run-1/events", timeout=LIMIT_S) as answer:
        lines = [line for line, _ in zip(answer.iter_lines(), range(7), strict=False) if line]
    assert [line.partition(":")[0] for line in lines] == ["data", "id", "", ""]


def test_a_client_that_leaves_frees_its_stream() -> None:
    """Nobody is looked for any more when the client has gone, over both."""
    watched = Watched()
    with serving(watched) as base:
        with httpx.stream("GET", f"{base}/runs/run-1/events", timeout=LIMIT_S) as answer:
            events = read_events(answer)
            next(events)
            assert watched.streams.open_events == 1
        wait_for(lambda: watched.streams.open_events == 0)
    watched = Watched()
    with serving_grpc(watched) as (channel, _):
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        for _ in range(2):  # all places are taken, left, and taken again
            calls = [stub.WatchRun(pb.WatchRunRequest(run_id="run-1")) for _ in range(edge_grpc.STREAMS)]
            for call in calls:
                assert next(call).run.run_id == "run-1"
            for call in calls:
                call.cancel()
            wait_for(lambda: no_more_looks(watched))


def no_more_looks(watched: Watched) -> bool:
    """Whether nobody looks for longer than any stream waits."""
    before = watched.looks
    threading.Event().wait(LOOK_INTERVAL_S * 1.5)
    return watched.looks == before


def test_records_that_are_away_end_no_stream() -> None:
    """While they do not answer nothing is told; afterwards the stream goes on."""
    watched = Watched()
    with serving(watched) as base, httpx.stream("GET", f"{base}/runs/run-1/events", timeout=LIMIT_S) as answer:
        events = read_events(answer)
        next(events)
        watched.away, looks = True, watched.looks
        wait_for(lambda: watched.looks > looks)
        watched.view, watched.away = View(state="completed"), False
        assert [view.state for _, view in events] == ["completed"]


def test_a_service_that_stops_ends_its_streams() -> None:
    """Streams end by themselves, so that the servers need not wait for their time-out; gRPC says why."""
    watched = Watched()
    with serving(watched) as base, httpx.stream("GET", f"{base}/runs/run-1/events", timeout=LIMIT_S) as answer:
        events = read_events(answer)
        next(events)
        watched.streams.close()
        assert list(events) == []
    watched = Watched()
    with serving_grpc(watched) as (channel, _):
        call = training_pb2_grpc.TrainingServiceStub(channel).WatchRun(pb.WatchRunRequest(run_id="run-1"))
        next(call)
        watched.streams.close()
        with pytest.raises(grpc.RpcError) as failure:
            next(call)
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE


def test_many_idle_streams_hold_no_other_call() -> None:
    """With more event streams open than the server has threads, calls are answered; above the limit a stream is
    refused in words."""
    watched = Watched()
    limits = httpx.Limits(max_connections=None)
    with serving(watched) as base, httpx.Client(limits=limits, timeout=LIMIT_S) as client:
        answers = [
            client.send(client.build_request("GET", f"{base}/runs/run-1/events"), stream=True) for _ in range(100)
        ]
        wait_for(lambda: watched.streams.open_events == 100)
        began = time.monotonic()
        for _ in range(10):
            assert client.get(f"{base}/readyz").text == "ready"
        assert time.monotonic() - began < 5.0
        for answer in answers:
            answer.close()
        wait_for(lambda: watched.streams.open_events == 0)


def test_a_stream_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """429 over HTTP."""
    monkeypatch.setattr(streams_module, "MOST_EVENT_STREAMS", 1)
    with serving(Watched()) as base, httpx.stream("GET", f"{base}/runs/run-1/events", timeout=LIMIT_S) as answer:
        events = read_events(answer)  # kept: a stream that nobody reads is closed
        next(events)
        refused = httpx.get(f"{base}/runs/run-1/events")
        assert (refused.status_code, refused.json()["error"]) == (429, "TooMany")


def test_grpc_streams_leave_threads_for_calls() -> None:
    """When all places for streams are taken a further stream is RESOURCE_EXHAUSTED, and calls and health answer."""
    watched = Watched()
    with serving_grpc(watched) as (channel, _):
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        calls = [stub.WatchRun(pb.WatchRunRequest(run_id="run-1")) for _ in range(edge_grpc.STREAMS)]
        for call in calls:
            assert next(call).run.state == "running"
        with pytest.raises(grpc.RpcError) as failure:
            next(stub.WatchRun(pb.WatchRunRequest(run_id="run-1"), timeout=LIMIT_S))
        assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert stub.GetRun(pb.GetRunRequest(run_id="run-1"), timeout=LIMIT_S).run.state == "running"
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=LIMIT_S)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        watched.view = View(state="completed")
        for call in calls:
            assert [answer.run.state for answer in call] == ["completed"]
        assert next(stub.WatchRun(pb.WatchRunRequest(run_id="run-1"), timeout=LIMIT_S)).run.state == "completed"


def test_whoever_watches_health_takes_no_place_of_callers() -> None:
    """Health is open to all; so its streams have a few places of their own, and however many come, the others stay."""
    with serving_grpc(Watched()) as (channel, _):
        health = health_pb2_grpc.HealthStub(channel)
        watching = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(edge_grpc.STREAMS)]
        first = [_first(watch) for watch in watching]
        assert first.count("SERVING") == edge_grpc.HEALTH_STREAMS
        assert first.count("RESOURCE_EXHAUSTED") == edge_grpc.STREAMS - edge_grpc.HEALTH_STREAMS
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        assert next(stub.WatchRun(pb.WatchRunRequest(run_id="run-1"), timeout=LIMIT_S)).run.state == "running"
        for watch in watching:
            watch.cancel()


def _first(watch: Any) -> str:
    """What a health stream says first, or how it is refused."""
    try:
        return health_pb2.HealthCheckResponse.ServingStatus.Name(next(watch).status)
    except grpc.RpcError as failure:
        return str(failure.code().name)
