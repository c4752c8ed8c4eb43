"""Connections of the HTTP server: limits of their number, and of the time that each may make the server wait."""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response

from services.common.access.edge import ConnectionLimits, Edge, Tls
from services.common.errors import InvalidInput
from services.common.http.app import LARGEST_BODY, create_app
from services.common.http.connections import LARGEST_HEADER
from services.common.runtime.service import HttpServer
from tests.fakes.certificates import Authority
from tests.fakes.halves import HALVES, MALFORMED, connect, half_requests, received

SOON_S = 0.5
"""A limit of time that a test waits for."""
NEVER_S = 600.0
GET = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
CLOSE = GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
LARGE = 16 << 20


def limits(connections: int = 1000, *, soon: str = "") -> ConnectionLimits:
    """Limits of time that a test never waits for, except the one that it names."""
    seconds = dict.fromkeys(("header_s", "body_s", "send_s", "keep_alive_s"), NEVER_S)
    return ConnectionLimits(connections, **seconds | ({soon: SOON_S} if soon else {}))


def create_test_app() -> FastAPI:
    app = create_app("training", lambda: True)

    @app.post("/late")
    async def read_late(request: Request, seconds: float = 0) -> int:
        """Read the body after some seconds."""
        await asyncio.sleep(seconds)
        return len(await request.body())

    @app.get("/large")
    async def send_much() -> Response:
        return Response(bytes(LARGE))

    return app


@contextmanager
def serving(limits: ConnectionLimits, tls: Tls | None = None) -> Iterator[HttpServer]:
    server = HttpServer(create_test_app(), Edge("training", tls=tls, limits=limits), 0)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> Tls:
    return Tls(authority.certificate, authority.key)


def wait_until(holds: Callable[[], bool]) -> None:
    """Return when a condition holds; fail after a minute."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)


def is_closed(connection: socket.socket) -> bool:
    """Return whether the server has closed a connection from which nothing is left to read."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        connection.settimeout(60)


def test_clients_are_served_while_half_requests_are_open() -> None:
    """Clients with new connections, and with one that they keep, are answered while 100 half requests stay open."""
    with serving(limits()) as server:
        halves = list(half_requests(server.port, 100))
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
            assert [client.get("/healthz").status_code for _ in range(50)] == [200] * 50
        assert all(received(connect(server.port, CLOSE)).startswith(b"HTTP/1.1 200 OK") for _ in range(50))
        assert len(server.room) >= len(halves) == 100


def test_half_requests_are_closed() -> None:
    """100 half requests are answered and closed after their limit of time."""
    with serving(ConnectionLimits(header_s=SOON_S, body_s=SOON_S)) as server:
        halves = list(half_requests(server.port, 100))
        answers = [received(half) for half in halves]
        wait_until(partial(has_connections, server, 0))
    # The application answers a call of a route with another method before it reads the body.
    assert {answer.partition(b"\r\n")[0] for answer in answers} == {
        b"HTTP/1.1 408 Request Timeout", b"HTTP/1.1 405 Method Not Allowed",
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name in HALVES if "body" not in name and "chunk" not in name])
def test_a_header_has_a_limit_of_time(name: str) -> None:
    """408 after the limit, also if the caller sends a byte now and then."""
    with serving(limits(soon="header_s")) as server:
        half = connect(server.port, HALVES[name])
        while not is_readable(half):
            half.sendall(b"x")
        assert received(half).startswith(b"HTTP/1.1 408 ")


def is_readable(connection: socket.socket) -> bool:
    """Wait a moment for something to read; return whether there is something."""
    connection.settimeout(SOON_S / 10)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False
    finally:
        connection.settimeout(60)


def test_the_header_of_a_later_request_has_a_limit_of_time() -> None:
    """A connection that was used before waits no longer for a half header than a new one."""
    with serving(limits(soon="header_s")) as server:
        connection = connect(server.port, GET + GET[:10])
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK") and b"HTTP/1.1 408 " in answer


def test_a_body_has_a_limit_of_time() -> None:
    """A handler that reads the body ends when the limit is over, and its caller is answered 408."""
    head = b"POST /late HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n"
    with serving(limits(soon="body_s")) as server:
        half = connect(server.port, head + b"12345")
        assert received(half).startswith(b"HTTP/1.1 408 ")
        wait_until(partial(has_connections, server, 0))


def test_a_caller_that_waits_for_the_service_is_not_slow() -> None:
    """A body that the service does not read for longer than the limit has the whole limit after that."""
    with serving(ConnectionLimits(body_s=4.0)) as server:
        late = f"http://127.0.0.1:{server.port}/late?seconds=6"
        answer = httpx.post(late, content=bytes(LARGEST_BODY), timeout=60)
    assert answer.json() == LARGEST_BODY


def test_a_connection_without_a_next_request_is_closed() -> None:
    """The limit also holds after a body that was refused and arrives after the answer."""
    declared = LARGEST_BODY + 1
    head = b"POST /late HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % declared
    with serving(limits(soon="keep_alive_s")) as server:
        assert received(connect(server.port, GET)).startswith(b"HTTP/1.1 200 OK")
        refused = connect(server.port, head)
        assert refused.recv(12) == b"HTTP/1.1 413"
        refused.sendall(bytes(declared))
        received(refused)
        wait_until(partial(has_connections, server, 0))


def test_a_caller_that_does_not_read_is_cut() -> None:
    """An answer that the caller does not read keeps its connection only for a limit of time."""
    with serving(limits(soon="send_s")) as server:
        deaf = connect(server.port, b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert deaf.recv(15) == b"HTTP/1.1 200 OK"
        wait_until(partial(has_connections, server, 0))
        assert len(received(deaf)) < LARGE
        closing = connect(server.port, b"GET /large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert closing.recv(15) == b"HTTP/1.1 200 OK"
        wait_until(partial(has_connections, server, 0))
        closing.close()


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_not_http_is_refused_at_once(name: str) -> None:
    """The server answers 400 and closes, whatever it was sent, and however large the header is."""
    with serving(limits()) as server:
        connection = connect(server.port)
        with suppress(ConnectionError):  # the server closes before it has read everything
            connection.sendall(MALFORMED[name])
        answer = received(connection)
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 405 ")) or (name == "large header" and not answer)
        assert httpx.get(f"http://127.0.0.1:{server.port}/healthz").status_code == 200


def test_headers_of_the_largest_size_are_read() -> None:
    """A request with headers just below the limit is answered."""
    with serving(limits()) as server:
        value = "x" * (LARGEST_HEADER - 500)
        assert httpx.get(f"http://127.0.0.1:{server.port}/healthz", headers={"x-large": value}).status_code == 200


@pytest.mark.parametrize("early", [b"", b"\x16\x03", b"GET / HTTP/1.1\r\n\r\n"], ids=["nothing", "half", "no TLS"])
def test_a_handshake_has_a_limit_of_time(tls: Tls, authority: Authority, early: bytes) -> None:
    """A connection whose TLS handshake does not end is closed; meanwhile others are served over TLS."""
    with serving(limits(soon="header_s"), tls) as server:
        half = connect(server.port, early)
        context = ssl.create_default_context(cafile=str(authority.bundle))
        assert httpx.get(f"https://localhost:{server.port}/healthz", verify=context).status_code == 200
        received(half)
        wait_until(partial(has_connections, server, 0))


def test_requests_over_tls_have_limits_of_time(tls: Tls, authority: Authority) -> None:
    """A half header over TLS is answered 408, and the place of the connection is free again."""
    context = ssl.create_default_context(cafile=str(authority.bundle))
    with serving(limits(soon="header_s"), tls) as server:
        with context.wrap_socket(connect(server.port), server_hostname="localhost") as half:
            half.sendall(GET[:10])
            assert received(half).startswith(b"HTTP/1.1 408 ")
        wait_until(partial(has_connections, server, 0))


def test_a_request_may_arrive_with_the_end_of_the_handshake(tls: Tls, authority: Authority) -> None:
    """Bytes that arrive in one packet with the last message of the handshake are not lost."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=str(authority.bundle))
    side = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with serving(limits(), tls) as server:
        connection = connect(server.port)
        while True:
            try:
                side.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(1 << 16))
        side.write(CLOSE)
        connection.sendall(outgoing.read())
        incoming.write(received(connection))
        assert side.read(1 << 16).startswith(b"HTTP/1.1 200 OK")


def test_half_requests_make_room_for_others() -> None:
    """Above the limit, the halves of the address with the most are closed. A half of another address remains, although
    it is the oldest."""
    with serving(limits(20)) as server:
        older = connect(server.port, GET[:10])
        wait_until(partial(has_connections, server, 1))
        halves = [connect(server.port, GET[:10], source="127.0.0.2") for _ in range(60)]
        for _ in range(30):
            assert received(connect(server.port, CLOSE)).startswith(b"HTTP/1.1 200 OK")
        wait_until(lambda: sum(is_closed(half) for half in halves) >= 40)
        assert len(server.room) <= 20
        older.sendall(CLOSE[10:])
        assert received(older).startswith(b"HTTP/1.1 200 OK")


def test_idle_connections_make_room_for_others() -> None:
    """Without halves, connections that wait for a next request are closed."""
    with serving(limits(20)) as server:
        idle = []
        for _ in range(40):
            idle.append(connect(server.port, GET))
            assert idle[-1].recv(15) == b"HTTP/1.1 200 OK"
        assert len(server.room) <= 20


def test_calls_are_not_closed_for_others() -> None:
    """If all connections are being answered, a new one is closed, and the answers arrive complete."""
    with serving(limits(10)) as server:
        calls = [connect(server.port, CLOSE.replace(b"/healthz", b"/large")) for _ in range(10)]
        assert all(call.recv(15) == b"HTTP/1.1 200 OK" for call in calls)
        assert received(connect(server.port, GET)) == b""
        assert all(len(received(call)) > LARGE for call in calls)


def test_a_server_stops_although_halves_are_open(tls: Tls) -> None:
    """Open halves do not keep a server from stopping, with and without TLS."""
    for files in (None, tls):
        with serving(limits(), files) as server:
            halves = [connect(server.port) for _ in range(5)]
            wait_until(partial(has_connections, server, 5))
        assert [received(half) for half in halves] == [b""] * 5


def has_connections(server: HttpServer, number: int) -> bool:
    """Return whether this number of connections is open."""
    return len(server.room) == number


def test_a_certificate_that_does_not_fit_its_key_is_named(tls: Tls, tmp_path: Path) -> None:
    """InvalidInput names the files before the server starts."""
    other = Authority(tmp_path / "other")
    with pytest.raises(InvalidInput, match=r"server\.pem"):
        HttpServer(create_test_app(), Edge("training", tls=Tls(tls.certificate, other.key)), 0)
