"""Callers that send half of a request, or something that is not HTTP, and then wait."""

import socket
from collections.abc import Iterator
from itertools import cycle, islice

HALVES = {
    "nothing": b"",
    "half a request line": b"GET /heal",
    "half a header": b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-half",
    "half a body": b"POST /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{",
    "half a chunk": b"POST /healthz HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{",
}
"""What a caller sends before it waits, by name."""
MALFORMED = {
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "no header": b"GET /healthz HTTP/1.1\r\nno header\r\n\r\n",
    "large header": b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-large: " + b"x" * 100_000 + b"\r\n\r\n",
    "bad length": b"POST /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
    "bad chunk": b"POST /healthz HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
}
"""What a caller sends that no server may accept, by name."""


def connect(port: int, content: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
    """Connect to a port of this machine, from one of its addresses, and send something."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(source, 0))
    connection.sendall(content)
    return connection


def half_requests(port: int, count: int) -> Iterator[socket.socket]:
    """Open connections, each with one of HALVES in turn."""
    for content in islice(cycle(HALVES.values()), count):
        yield connect(port, content)


def received(connection: socket.socket) -> bytes:
    """Return what a server sends until it closes the connection, however it does that."""
    content = bytearray()
    try:
        while block := connection.recv(1 << 16):
            content += block
    except ConnectionError:  # it closed before it had read everything
        return bytes(content)
    return bytes(content)
