"""Progress as streams: server-sent events and gRPC."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
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
from services.common.errors import NotFound, Unavailable
from services.common.grpc import to_message
from services.common.http import streams as streams_module
from services.common.http.app import create_app
from services.common.http.streams import POLL_INTERVAL_S, RECONNECT_MS, EventStream, Streams
from tests.fakes.serving import serving_http, training_channel

LIMIT_S = 20.0


class View(BaseModel):
    """The view that is watched."""

    run_id: str = "run-1"
    state: str = "running"
    error: str = ""


@dataclass
class Watched:
    """A record that a test changes, and the application and servicer that stream it."""

    streams: Streams = field(default_factory=Streams)
    view: View = field(default_factory=View)
    away: bool = False
    reads: int = 0

    def read(self, run_id: str) -> View:
        """Return the view, as a query would."""
        self.reads += 1
        if run_id != "run-1":
            raise NotFound(f"there is no run {run_id!r}")
        if self.away:
            raise Unavailable("the records do not answer")
        return self.view

    def app(self) -> FastAPI:
        """Make an application with one stream."""
        app = create_app("training", ready=lambda: True)

        @app.get("/runs/{run_id}/events", response_class=EventStream)
        def events(run_id: str, request: Request) -> Response:
            return self.streams.events(request, lambda: self.read(run_id), ended)

        return app

    def servicer(self) -> training_pb2_grpc.TrainingServiceServicer:
        """Make a servicer with the same stream, and one call that answers at once."""
        watched = self

        class Servicer(training_pb2_grpc.TrainingServiceServicer):
            def GetRun(self, request: pb.GetRunRequest, _: grpc.ServicerContext) -> pb.GetRunResponse:
                return pb.GetRunResponse(run=to_message(watched.read(request.run_id), pb.Run))

            def WatchRun(
                self, request: pb.WatchRunRequest, context: grpc.ServicerContext
            ) -> Iterator[pb.WatchRunResponse]:
                for view in watched.streams.views(context, lambda: watched.read(request.run_id), ended):
                    yield pb.WatchRunResponse(run=to_message(view, pb.Run))

        return Servicer()


def ended(view: View) -> bool:
    return view.state == "completed"


@contextmanager
def serving(watched: Watched) -> Iterator[str]:
    """Serve the application; yields its address."""
    with serving_http(watched.app()) as base, closing(watched.streams):
        yield base


@contextmanager
def channel_to(watched: Watched) -> Iterator[grpc.Channel]:
    """Serve the servicer; yields a channel to it."""
    with training_channel(watched.servicer()) as channel, closing(watched.streams):
        yield channel


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "the time is over"
        time.sleep(0.01)


def read_events(answer: httpx.Response) -> Iterator[tuple[str, View]]:
    """Yield the id and the view of each event of an answer."""
    content: dict[str, str] = {}
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if line and name:
            content[name] = value
        elif content:
            yield content["id"], View.model_validate_json(content["data"])
            content = {}


def test_each_change_is_an_event_until_the_end() -> None:
    """The view comes at once, and again when it has changed; the answer ends after the last event.

    A client that reconnects with the id of the last event is answered 204.
    """
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


def test_an_unknown_id_is_refused_before_the_stream_begins() -> None:
    """It is answered 404 with the same body as in other calls, and NOT_FOUND over gRPC."""
    watched = Watched()
    with serving(watched) as base:
        answer = httpx.get(f"{base}/runs/run-9/events")
        assert (answer.status_code, answer.json()["error"]) == (404, "NotFound")
    watched = Watched()
    with channel_to(watched) as channel:
        with pytest.raises(grpc.RpcError) as failure:
            list(training_pb2_grpc.TrainingServiceStub(channel).WatchRun(pb.WatchRunRequest(run_id="run-9")))
        assert failure.value.code() is grpc.StatusCode.NOT_FOUND


def test_changes_are_coalesced() -> None:
    """Between two polls only the newest view counts: about two events a second, however fast it changes."""
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
        assert seen <= 2 + (time.monotonic() - began) / POLL_INTERVAL_S
    thread.join()


def test_an_idle_stream_has_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comment lines keep the connection open while nothing changes; no event is repeated."""
    monkeypatch.setattr(streams_module, "HEARTBEAT_S", 0.0)
    with serving(Watched()) as base, httpx.stream("GET", f"{base}/runs/run-1/events", timeout=LIMIT_S) as answer:
        lines = [line for line, _ in zip(answer.iter_lines(), range(7), strict=False) if line]
    assert [line.partition(":")[0] for line in lines] == ["data", "id", "", ""]


def test_a_client_that_leaves_frees_its_stream() -> None:
    """Polling for a client ends when it has left, over HTTP and over gRPC."""
    watched = Watched()
    with serving(watched) as base:
        with httpx.stream("GET", f"{base}/runs/run-1/events", timeout=LIMIT_S) as answer:
            events = read_events(answer)
            next(events)
            assert watched.streams.open_events == 1
        wait_for(lambda: watched.streams.open_events == 0)
    watched = Watched()
    with channel_to(watched) as channel:
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        for _ in range(2):  # all places are taken, freed, and taken again
            calls = [stub.WatchRun(pb.WatchRunRequest(run_id="run-1")) for _ in range(edge_grpc.STREAMS)]
            for call in calls:
                assert next(call).run.run_id == "run-1"
            for call in calls:
                call.cancel()
            wait_for(lambda: polling_ended(watched))


def polling_ended(watched: Watched) -> bool:
    """Wait for longer than any stream waits between two polls; return whether the view was not read meanwhile."""
    before = watched.reads
    threading.Event().wait(POLL_INTERVAL_S * 1.5)
    return watched.reads == before


def test_a_stream_survives_unreachable_records() -> None:
    """No event is sent while the records do not answer; afterwards the stream continues."""
    watched = Watched()
    with serving(watched) as base, httpx.stream("GET", f"{base}/runs/run-1/events", timeout=LIMIT_S) as answer:
        events = read_events(answer)
        next(events)
        watched.away, reads = True, watched.reads
        wait_for(lambda: watched.reads > reads)
        watched.view, watched.away = View(state="completed"), False
        assert [view.state for _, view in events] == ["completed"]


def test_a_client_that_reconnects_receives_only_changes() -> None:
    """With the id of the newest event, the stream begins with a comment, and the next event is the next change."""
    watched = Watched()
    with serving(watched) as base:
        path = f"{base}/runs/run-1/events"
        with httpx.stream("GET", path, timeout=LIMIT_S) as answer:
            events = read_events(answer)
            last_id, _ = next(events)
        with httpx.stream("GET", path, headers={"last-event-id": last_id}, timeout=LIMIT_S) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith(":")
            watched.view = View(state="completed")
            data = [line for line in lines if line.startswith("data: ")]
        assert [View.model_validate_json(line.removeprefix("data: ")).state for line in data] == ["completed"]


def test_a_service_that_stops_ends_its_streams() -> None:
    """Streams end by themselves, so that the servers need not wait for their time-out. The last event is `stopping`,
    without data, and new streams are refused with 503; over gRPC both are UNAVAILABLE."""
    watched = Watched()
    with serving(watched) as base, httpx.stream("GET", f"{base}/runs/run-1/events", timeout=LIMIT_S) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        watched.streams.close()
        assert [line for line in lines if line][1:] == ["event: stopping", f"retry: {RECONNECT_MS}"]
        assert httpx.get(f"{base}/runs/run-1/events").status_code == 503
    watched = Watched()
    with channel_to(watched) as channel:
        call = training_pb2_grpc.TrainingServiceStub(channel).WatchRun(pb.WatchRunRequest(run_id="run-1"))
        next(call)
        watched.streams.close()
        with pytest.raises(grpc.RpcError) as failure:
            next(call)
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE


def test_many_idle_streams_do_not_delay_other_calls() -> None:
    """Calls are answered while more event streams are open than the server has threads."""
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


def test_an_event_stream_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered 429."""
    monkeypatch.setattr(streams_module, "MAX_EVENT_STREAMS", 1)
    with serving(Watched()) as base, httpx.stream("GET", f"{base}/runs/run-1/events", timeout=LIMIT_S) as answer:
        events = read_events(answer)  # the name keeps it alive: a stream without a reader is closed
        next(events)
        refused = httpx.get(f"{base}/runs/run-1/events")
        assert (refused.status_code, refused.json()["error"]) == (429, "TooMany")


def test_grpc_streams_leave_threads_for_calls() -> None:
    """When all places for streams are taken, a further one is RESOURCE_EXHAUSTED, and calls and health still answer."""
    watched = Watched()
    with channel_to(watched) as channel:
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


def test_health_streams_take_no_places_of_callers() -> None:
    """Health needs no token, so its streams have a few places of their own, and callers keep theirs."""
    with channel_to(Watched()) as channel:
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
    """Return the first status of a health stream, or the code with which it is refused."""
    try:
        return health_pb2.HealthCheckResponse.ServingStatus.Name(next(watch).status)
    except grpc.RpcError as failure:
        return str(failure.code().name)
