"""The connections of an HTTP server: how many there may be, and how long each may make the server wait.

The threat is a caller who opens many connections and sends half of something on each: of a TLS handshake, of headers,
of a body. Each costs the caller little, but uses up the files of the process, and then nobody can connect. So each half
has a limit of time. If there are too many connections, the oldest halves are closed, first those of the address that
has the most. An address has no limit of its own: behind a proxy, all callers have the same one.
"""

import asyncio
import ssl
from collections import Counter
from enum import Enum
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from services.common.access.edge import ConnectionLimits
from services.common.observability.metrics import HTTP_CLOSED

LARGEST_HEADER = 16 << 10
"""Bytes of the request line and the headers, up to PIECE more. A larger request is answered 400."""
PIECE = 8 << 10
"""Bytes that are parsed at once: the parser checks the size of the headers only between two pieces."""
CLOSING_S = 2.0
"""Seconds until a connection is cut whose caller does not accept the rest."""
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Phase(Enum):
    """What a connection waits for."""

    HANDSHAKE = "handshake"
    HEADER = "header"
    BODY = "body"
    ANSWER = "answer"
    NEXT = "next request"


HALVES = (Phase.HANDSHAKE, Phase.HEADER, Phase.BODY)


class Room:
    """The open connections of a server, and the place for a limited number of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, connection: "Connection") -> bool:
        """Add a connection. If there is no room, close others first; return False if all of them are being answered."""
        if len(self._open) >= self._limit:
            self._make_room()
        if len(self._open) >= self._limit:
            return False
        self._open.add(connection)
        return True

    def leave(self, connection: "Connection") -> None:
        """Remove a connection, unless it was removed before."""
        self._open.discard(connection)

    def _make_room(self) -> None:
        """Close a twentieth of the limit at once, since choosing takes as long for one as for all of them."""
        halves = [one for one in self._open if one.phase in HALVES]
        waiting = halves or [one for one in self._open if one.phase is Phase.NEXT]
        crowds = Counter(one.address for one in waiting)
        waiting.sort(key=lambda one: (-crowds[one.address], one.since))
        for connection in waiting[: max(1, self._limit // 20)]:
            connection.cut("crowded")


class Connection(H11Protocol):
    """uvicorn's protocol with limits. It makes the TLS handshake itself, so that a half one counts as a connection."""

    def __init__(
        self, service: str, room: Room, limits: ConnectionLimits, tls: ssl.SSLContext | None, **of_uvicorn: Any
    ) -> None:
        super().__init__(**of_uvicorn)
        self.address, self.since, self.phase = "", 0.0, Phase.HANDSHAKE
        self._service, self._room, self._tls = service, room, tls
        self._seconds = {
            Phase.HANDSHAKE: limits.header_s,
            Phase.HEADER: limits.header_s,
            Phase.BODY: limits.body_s,
            Phase.NEXT: limits.keep_alive_s,
        }
        self._send_s = limits.send_s
        self._socket: asyncio.Transport
        self._secured = False
        self._early = b""
        self._service_is_slow = False
        """Whether the service had more to read than it could take since the limit of time began."""
        self._timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._handshake: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Find room for the connection and begin with the handshake, or without TLS with the first request."""
        self._socket = transport
        self.address = (transport.get_extra_info("peername") or ("",))[0]
        if not self._room.enter(self):
            self.cut("crowded")
            return
        if self._tls is None:
            self._begin(transport)
            return
        self.connections.add(self)
        self._enter(Phase.HANDSHAKE)
        self._handshake = self.loop.create_task(self._secure(self._tls))

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived. Bytes that arrive with the end of the handshake wait until it has been noticed."""
        if not self._secured:
            self._early += data
            return
        for start in range(0, len(data), PIECE):
            if not self.transport.is_closing():
                super().data_received(data[start : start + PIECE])
        self._service_is_slow |= self.flow.read_paused
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place of the connection."""
        self._leave()
        if self._secured:
            super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request. If the connection is closing, do not wait long until the caller has read it."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._cut_after(self._send_s)
        else:
            self._watch()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP. If an answer has begun, only close the connection."""
        HTTP_CLOSED.labels(self._service, "malformed").inc()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        self._close()

    def pause_writing(self) -> None:
        """Begin to wait for a caller that does not read."""
        super().pause_writing()
        self._cut_after(self._send_s)

    def resume_writing(self) -> None:
        """End that wait."""
        super().resume_writing()
        if self._send_timer is not None:
            self._send_timer.cancel()

    def shutdown(self) -> None:
        """Close the connection, when its answer is complete, since the server stops."""
        if self._secured:
            super().shutdown()
        else:
            self._socket.abort()

    def cut(self, reason: str) -> None:
        """Close the connection at once, without an answer."""
        HTTP_CLOSED.labels(self._service, reason).inc()
        self._leave()
        self._socket.abort()

    async def _secure(self, tls: ssl.SSLContext) -> None:
        """Make the handshake. If the connection ends before it is complete, `connection_lost` may not be called."""
        secured = None
        try:
            if not self._socket.is_closing():
                secured = await self.loop.start_tls(
                    self._socket, self, tls, server_side=True, ssl_shutdown_timeout=CLOSING_S
                )
        except OSError:  # not TLS, no certificate, or the caller has left; uvicorn does not log these either
            secured = None
        if secured is None or secured.is_closing():
            self._leave()
            return
        self._begin(secured)
        if self._early:
            self.data_received(self._early)

    def _begin(self, transport: asyncio.Transport) -> None:
        self._secured = True
        super().connection_made(transport)
        self._enter(Phase.HEADER)

    def _watch(self) -> None:
        """Notice what the connection waits for now. The clock of what it already waited for continues."""
        phase = self._phase_now()
        if phase is not self.phase and not self.transport.is_closing():
            self._enter(phase)

    def _phase_now(self) -> Phase:
        if self.conn.their_state is h11.SEND_BODY:
            return Phase.BODY
        if self.conn.their_state is not h11.IDLE:
            return Phase.ANSWER
        begun = self.cycle is None or bool(self.conn.trailing_data[0])
        return Phase.HEADER if begun else Phase.NEXT

    def _enter(self, phase: Phase) -> None:
        self.phase, self.since = phase, self.loop.time()
        self._service_is_slow = self._secured and self.flow.read_paused
        if self._timer is not None:
            self._timer.cancel()
        seconds = self._seconds.get(phase)
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        if self.phase is Phase.HANDSHAKE:
            self.cut(self.phase.value)
        elif self.phase is Phase.NEXT:
            self._close()
        elif self.phase is Phase.BODY and self._service_is_slow:
            self._enter(Phase.BODY)
        else:
            HTTP_CLOSED.labels(self._service, self.phase.value).inc()
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                self.transport.write(TIMED_OUT)
            self._close()

    def _close(self) -> None:
        """Close the connection, within CLOSING_S even if the caller does not read what was sent."""
        self._leave()
        if self.cycle is not None:
            self.cycle.disconnected = True
        self.transport.close()
        self._cut_after(CLOSING_S)

    def _cut_after(self, seconds: float) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
        self._send_timer = self.loop.call_later(seconds, self.cut, "send")

    def _leave(self) -> None:
        self._room.leave(self)
        self.connections.discard(self)
        for timer in (self._timer, self._send_timer):
            if timer is not None:
                timer.cancel()
