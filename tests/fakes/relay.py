"""A relay of TCP connections that a test can cut, as a port-forward that ends."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

RESET = struct.pack("ii", 1, 0)
"""The option SO_LINGER with which closing a connection resets it."""


class Relay:
    """Relays connections from `port` to another port of this machine until it is cut; `mend` opens the same port
    again."""

    def __init__(self, target: int) -> None:
        self._target, self.port = target, 0
        self._connections: list[socket.socket] = []
        self._server = socket.socket()
        self.mend()

    def mend(self) -> None:
        """Accept connections, again if they were cut."""
        self._server = socket.socket()
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._server.bind(("127.0.0.1", self.port))
        self._server.listen()
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def cut(self) -> None:
        """Reset all connections, and refuse others."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._server.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the server is closed by `cut`
            while True:
                caller, _ = server.accept()
                callee = socket.create_connection(("127.0.0.1", self._target))
                self._connections += [caller, callee]
                for source, sink in ((caller, callee), (callee, caller)):
                    threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


@contextlib.contextmanager
def relaying(target: int) -> Iterator[Relay]:
    """Relay connections during the block."""
    relay = Relay(target)
    try:
        yield relay
    finally:
        relay.cut()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Copy until one of the two ends; then end both, as a port-forward does."""
    with contextlib.suppress(OSError):
        while content := source.recv(1 << 16):
            sink.sendall(content)
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
            one.close()
