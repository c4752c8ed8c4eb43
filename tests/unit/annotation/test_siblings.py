"""Siblings that accept calls and never answer: a limit of concurrent calls, a breaker, and pages that need none."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from services.annotation.clients import http
from services.annotation.clients.breaker import MOST_FAILURES, PAUSE_S, Breaker
from services.annotation.clients.extraction import PICTURES
from services.annotation.clients.http import CALLS
from services.annotation.clients.training import TrainingService
from services.common.access.edge import Edge
from services.common.errors import NotFound, Unavailable
from services.common.runtime.service import HttpServer
from services.common.settings import Shared
from tests.fakes.annotation import Annotation


class Clock:
    """A clock that a test moves."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Silent:
    """A server that accepts connections and never answers. `connections` are those that it has accepted."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.connections: list[socket.socket] = []
        self._accepted = threading.Semaphore(0)
        threading.Thread(target=self._accept, daemon=True).start()

    def wait_for_calls(self, number: int) -> None:
        """Return when this number of connections has been accepted."""
        for _ in range(number):
            assert self._accepted.acquire(timeout=60)

    def close(self) -> None:
        """End all connections, so that calls that wait fail. A second time has no effect."""
        if self._socket.fileno() == -1:
            return
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self.connections:
            connection.close()

    def _accept(self) -> None:
        try:
            while True:
                self.connections.append(self._socket.accept()[0])
                self._accepted.release()
        except OSError:  # the end of the test
            return


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


@pytest.fixture
def breaker() -> Breaker:
    return Breaker("training service", limit=2, clock=Clock())


def fail(breaker: Breaker) -> None:
    with pytest.raises(httpx.ReadTimeout), breaker.call():
        raise httpx.ReadTimeout("timed out")


def succeed(breaker: Breaker) -> None:
    with breaker.call():
        pass


def clock_of(breaker: Breaker) -> Clock:
    assert isinstance(breaker._clock, Clock)
    return breaker._clock


def test_a_breaker_opens_after_consecutive_failures(breaker: Breaker) -> None:
    """An answer in between resets the count. An open breaker refuses calls, and names the service and the wait."""
    for _ in range(MOST_FAILURES - 1):
        fail(breaker)
    succeed(breaker)
    for _ in range(MOST_FAILURES):
        fail(breaker)
    with pytest.raises(Unavailable, match=f"training service does not answer; it is called again in {PAUSE_S:.0f} s"):
        succeed(breaker)


def test_an_open_breaker_lets_one_trial_through(breaker: Breaker) -> None:
    """After the pause one call is made, and others are refused meanwhile. Its failure begins another pause; its success
    closes the breaker."""
    for _ in range(MOST_FAILURES):
        fail(breaker)
    clock_of(breaker).seconds += PAUSE_S
    fail(breaker)
    with pytest.raises(Unavailable, match="does not answer"):
        succeed(breaker)
    clock_of(breaker).seconds += PAUSE_S
    with breaker.call(), pytest.raises(Unavailable, match="does not answer"):
        succeed(breaker)
    for _ in range(MOST_FAILURES - 1):
        succeed(breaker)
        fail(breaker)


def test_a_breaker_limits_concurrent_calls(breaker: Breaker) -> None:
    """A call above the limit is refused at once; the place is free again after a success, a failure and an error."""
    with breaker.call(), breaker.call(), pytest.raises(Unavailable, match="2 calls already wait for the training"):
        succeed(breaker)
    for _ in range(3):
        with pytest.raises(NotFound), breaker.call():
            raise NotFound("run 7")
    with breaker.call(), breaker.call():
        pass


def test_a_sibling_that_does_not_answer_is_not_called_again(silent: Silent, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some calls without an answer, the next one is refused without a connection."""
    monkeypatch.setattr(http, "TIMEOUT", httpx.Timeout(0.2))
    training = TrainingService(silent.url, Shared())
    for _ in range(MOST_FAILURES):
        with pytest.raises(Unavailable, match="timed out"):
            training.runs()
    silent.wait_for_calls(MOST_FAILURES)
    with pytest.raises(Unavailable, match="does not answer; it is called again in"):
        training.runs()
    assert len(silent.connections) == MOST_FAILURES


def test_pages_that_need_no_sibling_answer_while_all_siblings_hang(
    tmp_path: Path, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls up to the limit of each sibling wait. Above it, pages are answered 503 with the reason, and pictures wait
    without a thread. The home page and the survey are not affected."""
    monkeypatch.setattr(http, "TIMEOUT", httpx.Timeout(600.0))
    urls = dict.fromkeys(("training_url", "extraction_url", "rendering_url"), silent.url)
    world = Annotation(tmp_path, **urls)
    server = HttpServer(world.app, Edge("annotation"), 0)
    server.start()
    base = f"http://127.0.0.1:{server.port}"
    cookie = {"cookie": f"primitives_session={world.browser('Ana').cookies['primitives_session']}"}

    def status(path: str) -> tuple[int, str]:
        answer = httpx.get(f"{base}{path}", headers=cookie, timeout=120)
        return answer.status_code, answer.text

    picture = "/unit-pictures/extraction-1/layer4/unit_0001/top/1.webp"
    paths = ["/runs"] * 30 + ["/extractions"] * 30 + [picture] * 40
    with ThreadPoolExecutor(len(paths)) as browsers:
        calls = [browsers.submit(status, path) for path in paths]
        silent.wait_for_calls(CALLS + CALLS + PICTURES)
        assert [status(path)[0] for path in ("/", "/answers", world.unit_path())] == [200, 200, 200]
        code, text = status("/runs")
        assert code == 503 and f"{CALLS} calls already wait for the training service" in text
        assert len(silent.connections) == CALLS + CALLS + PICTURES
        silent.close()
        assert {call.result()[0] for call in calls} == {503}
    server.stop()
