"""What follows work outlasts lost connections, and ends at once where waiting is no use."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from fastapi import FastAPI, Response

from deploy.local.servers import free_port
from services.cli import connection as connection_module
from services.cli.client import Untrusted
from services.cli.connection import (
    FIRST_ANSWER_S,
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    REFUSAL_S,
    STEADY_S,
    Connection,
)
from services.common.errors import Forbidden, InvalidInput, NotFound, NotSignedIn, PrimitivesError, Unavailable
from services.common.http import streams as streams_module
from services.common.http.streams import Streams
from tests.fakes.following import FollowedService, Notices, TaskSeen
from tests.fakes.relay import relaying
from tests.fakes.serving import serving_http

LIMIT_S = 60.0
COMPLETED = TaskSeen(state="completed")


class Clock:
    """A clock that only waits move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        """Move on at once."""
        self.waits.append(seconds)
        self.now += seconds


def connection(notices: Notices, clock: Clock, base: str = "http://service:1", **options: Any) -> Connection:
    return Connection(base, notices, wait=clock.wait, clock=clock, **options)


def failing(times: int, error: PrimitivesError) -> Callable[[], str]:
    """Return a call that raises the error some times, and then returns "answered"."""
    left = iter([error] * times)

    def attempt() -> str:
        for one in left:
            raise one
        return "answered"

    return attempt


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 200])
def test_passing_answers_are_waited_for(status: int) -> None:
    """A call that is answered with a passing error, or with a page instead of JSON, is sent again until it succeeds."""
    answers = iter([Response("<p>Soon", status), Response("<p>Soon", status), Response('{"a": 1}')])
    app, notices, clock = FastAPI(), Notices(), Clock()
    app.get("/it")(lambda: next(answers))
    with serving_http(app) as base:
        assert connection(notices, clock, base).get("/it") == {"a": 1}
    assert len(clock.waits) == 2
    assert len(notices.lines) == 2
    assert notices.lines[0].endswith("; waiting for it") and "<p>Soon" in notices.lines[0]
    assert notices.lines[1].startswith(f"{base} answers again after")


def test_a_refused_connection_is_waited_for() -> None:
    """Nothing listens at the port at first."""
    port, service, served = free_port(), FollowedService(), threading.Event()

    def serve() -> None:
        with serving_http(service.app(), port=port):
            served.wait(LIMIT_S)

    notices, server = Notices(), threading.Thread(target=serve)

    def notice(line: str) -> None:
        if not notices.lines:
            server.start()
        notices(line)

    link = Connection(f"http://127.0.0.1:{port}", notice)
    assert link.get("/v1/tasks/task-1")["state"] == "running"
    served.set()
    server.join(LIMIT_S)
    assert "does not answer" in notices.lines[0] and "answers again" in notices.lines[1]


@pytest.mark.parametrize("status", [401, 403, 404, 409, 422])
def test_a_refusal_as_the_first_answer_is_an_error_at_once(status: int) -> None:
    """An unknown id, a wrong token and a wrong request are not waited for, and nothing is printed."""
    app, notices, clock = FastAPI(), Notices(), Clock()
    app.get("/it")(lambda: Response("no run 'run-9'", status))
    with serving_http(app) as base, pytest.raises(PrimitivesError, match=f"{status} no run 'run-9'"):
        connection(notices, clock, base).get("/it")
    assert (notices.lines, clock.waits) == ([], [])


@pytest.mark.parametrize("kind", [NotSignedIn, Forbidden, NotFound, Untrusted])
def test_a_refusal_of_a_known_caller_is_waited_for_some_minutes(kind: type[PrimitivesError]) -> None:
    """While a token is replaced, some processes know only the old one. A refusal that lasts is an error."""
    notices, clock = Notices(), Clock()
    link = connection(notices, clock)
    link.call(failing(0, kind()))
    assert link.call(failing(3, kind("rotating"))) == "answered"
    assert len(notices.lines) == 2
    with pytest.raises(kind, match="revoked"):
        link.call(failing(10_000, kind("revoked")))
    assert REFUSAL_S <= clock.now < 2 * REFUSAL_S


def test_a_refusal_after_a_long_absence_is_waited_for_as_long() -> None:
    """The time of refusals counts from the first refusal, not from the loss of the connection."""
    notices, clock = Notices(), Clock()
    link = connection(notices, clock)
    link.call(failing(0, Unavailable()))
    errors = iter([*[Unavailable("away")] * 100, *[NotSignedIn("rotating")] * 3])
    assert clock.now < REFUSAL_S

    def attempt() -> str:
        for error in errors:
            raise error
        return "answered"

    assert link.call(attempt) == "answered"
    assert clock.now > REFUSAL_S
    assert len(notices.lines) == 2


def test_an_absence_may_last_for_days() -> None:
    """After the first answer there is no limit. The waits grow, differ, and have a longest one; two lines are
    printed."""
    notices, clock = Notices(), Clock()
    link = connection(notices, clock)
    link.call(failing(0, Unavailable()))
    assert link.call(failing(20_000, Unavailable("[Errno 111] Connection refused"))) == "answered"
    assert clock.now > 24 * 3600
    assert FIRST_WAIT_S / 2 <= clock.waits[0] <= FIRST_WAIT_S
    assert all(LONGEST_WAIT_S / 2 <= wait <= LONGEST_WAIT_S for wait in clock.waits[6:])
    assert len(set(clock.waits)) > 1000
    assert len(notices.lines) == 2
    assert notices.lines[0] == "[Errno 111] Connection refused; waiting for it"


def test_a_service_that_never_answers_is_an_error() -> None:
    """It may have another address: the first answer is waited for some minutes only."""
    clock = Clock()
    with pytest.raises(Unavailable, match="refused"):
        connection(Notices(), clock).call(failing(10_000, Unavailable("refused")))
    assert FIRST_ANSWER_S <= clock.now < 2 * FIRST_ANSWER_S


def test_the_first_answer_of_a_known_service_has_no_limit() -> None:
    """The service was called before, or others of its stack have answered. A refusal is an error at once all the
    same."""
    clock = Clock()
    assert connection(Notices(), clock, known=True).call(failing(1000, Unavailable("refused"))) == "answered"
    assert clock.now > FIRST_ANSWER_S
    with pytest.raises(Forbidden):
        connection(Notices(), clock, known=True).call(failing(1, Forbidden()))


def test_waits_are_short_again_after_a_steady_time() -> None:
    """A connection that is lost at once again keeps the long waits; one that has lasted has short ones."""
    notices, clock = Notices(), Clock()
    link = connection(notices, clock)
    link.call(failing(10, Unavailable()))
    link.call(failing(1, Unavailable()))
    assert clock.waits[-1] >= LONGEST_WAIT_S / 2
    clock.now += STEADY_S
    link.call(failing(1, Unavailable()))
    assert clock.waits[-1] <= FIRST_WAIT_S


def test_a_service_that_cannot_come_back_is_not_waited_for() -> None:
    """`check` ends the waiting with its own error, such as that of the embedded services."""

    def check() -> None:
        raise Unavailable("the services ended with status 1")

    clock = Clock()
    link = connection(Notices(), clock, check=check)
    link.call(failing(0, Unavailable()))
    with pytest.raises(Unavailable, match="ended with status 1"):
        link.call(failing(1, Unavailable("refused")))
    assert clock.waits == []


def test_other_errors_are_raised() -> None:
    """They are errors of the call, not of the connection."""
    link = connection(Notices(), Clock())
    link.call(failing(0, Unavailable()))
    with pytest.raises(InvalidInput):
        link.call(failing(1, InvalidInput("epochs")))


class Follower:
    """Follows the task in a thread."""

    def __init__(self, base: str) -> None:
        self.notices = Notices()
        self.views: list[dict[str, Any]] = []
        self.seen = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._follow, args=(Connection(base, self.notices),), daemon=True)
        self.thread.start()

    def _follow(self, link: Connection) -> None:
        for view in link.task("/v1/tasks/task-1"):
            self.views.append(view)
            self.seen.release()

    def await_view(self) -> None:
        """Wait for another view."""
        assert self.seen.acquire(timeout=LIMIT_S), (self.views, self.notices.lines)

    def await_end(self) -> list[str]:
        """Wait until the follower has ended. Return the states that it has seen."""
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive(), (self.views, self.notices.lines)
        return [view["state"] for view in self.views]


def test_a_stream_survives_a_service_that_is_replaced() -> None:
    """The service ends its stream and goes away, and another process of it answers at the same port. The follower
    names the last event that it has received, and prints one line each for the loss and the return."""
    service, streams, port = FollowedService(), Streams(), free_port()
    with serving_http(service.app(streams), port=port) as base:
        follower = Follower(base)
        follower.await_view()
        streams.close()
        assert follower.notices.first.wait(LIMIT_S)
    with serving_http(service.app(), port=port):
        service.task = COMPLETED
        assert follower.await_end() == ["running", "completed"]
    assert service.last_ids[0] == "" and len(service.last_ids[-1]) == 16
    lost, back = follower.notices.lines
    assert lost == f"{base} is stopping; waiting for it"
    assert back.startswith(f"{base} answers again after")


def test_a_stream_survives_a_connection_that_is_cut() -> None:
    """A relay resets the stream in the middle, refuses connections for a while, and accepts them again: twice."""
    service, streams = FollowedService(), Streams()
    with serving_http(service.app(streams)) as direct, closing(streams), relaying(int(direct.split(":")[2])) as relay:
        follower = Follower(f"http://127.0.0.1:{relay.port}")
        for lines in (2, 4):
            follower.await_view()
            relay.cut()
            assert follower.notices.first.wait(LIMIT_S)
            follower.notices.first.clear()
            service.task = TaskSeen(error=f"change {lines}")
            relay.mend()
        follower.await_view()
        service.task = COMPLETED
        assert follower.await_end() == ["running", "running", "running", "completed"]
    assert len(follower.notices.lines) == 4
    assert "does not answer" in follower.notices.lines[0]


def test_views_hold_any_character() -> None:
    """Characters at which Python breaks lines do not end an event."""
    service = FollowedService(task=TaskSeen(state="failed", error="line\u2028separator\x85 \x0c"))
    with serving_http(service.app()) as base:
        [view] = Connection(base, Notices()).task("/v1/tasks/task-1")
    assert view["error"] == "line\u2028separator\x85 \x0c"


def test_a_task_is_polled_while_all_streams_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end is seen although the service has no place for the stream, and nothing is printed."""
    monkeypatch.setattr(streams_module, "MAX_EVENT_STREAMS", 0)
    service, notices = FollowedService(), Notices()

    def wait(_: float) -> None:
        service.task = COMPLETED

    with serving_http(service.app()) as base:
        states = [view["state"] for view in Connection(base, notices, wait=wait).task("/v1/tasks/task-1")]
    assert states == ["running", "completed"]
    assert notices.lines == []


def test_an_unknown_task_is_an_error_at_once() -> None:
    """Its stream is answered 404."""
    with serving_http(FollowedService().app()) as base, pytest.raises(NotFound):
        list(Connection(base, Notices()).task("/v1/tasks/task-9"))


def test_a_stream_without_events_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that ends before the task has ended is a lost connection, also without an error."""
    opened: list[str] = []
    views = iter([[("1", {"state": "running"})], [], [("2", {"state": "completed"})]])

    class Opened:
        def __init__(self, _base: str, _path: str, last_id: str) -> None:
            opened.append(last_id)

        def __enter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
            return iter(next(views))

        def __exit__(self, *_: object) -> None:
            return

    monkeypatch.setattr(connection_module, "open_events", Opened)
    seen = [view["state"] for view in connection(Notices(), Clock()).task("/v1/tasks/task-1")]
    assert seen == ["running", "completed"]
    assert opened == ["", "1", "1"]
