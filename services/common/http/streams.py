"""Progress as streams, over HTTP and gRPC: a view at once, and again each time it has changed, until it has ended.

The records are polled twice a second, since another process may change them. An idle stream holds no thread of the HTTP
server; over gRPC it holds one of the threads that `GrpcServer` has for streams.
"""

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import grpc
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import BaseModel

from services.common.errors import TooMany, Unavailable
from services.common.observability.logs import get_logger

log = get_logger(__name__)

POLL_INTERVAL_S = 0.5
HEARTBEAT_S = 15.0
"""Seconds without an event after which a comment line is sent, so that proxies do not close the connection."""
RECONNECT_MS = 1000
"""Milliseconds after which clients reconnect, in the event STOPPING."""
STOPPING = format_sse_event(event="stopping", retry=RECONNECT_MS)
"""The last event of a service that stops. It has no data, so that `EventSource` does not dispatch it."""
MAX_EVENT_STREAMS = 500
POLLING_THREADS = 4
"""Threads that poll for all event streams together, so that streams take none from other calls."""

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}

V = TypeVar("V", bound=BaseModel)


class EventStream(StreamingResponse):
    """Server-sent events. FastAPI's own class is for handlers that yield: there even the first error follows a 200."""

    media_type = "text/event-stream"


class Streams:
    """The open streams of one service."""

    def __init__(self) -> None:
        self._closed = threading.Event()
        self.open_events = 0
        """The number of open event streams."""
        self._limiter = anyio.CapacityLimiter(POLLING_THREADS)

    def close(self) -> None:
        """End all streams within POLL_INTERVAL_S."""
        self._closed.set()

    def events(self, request: Request, read: Callable[[], V], ended: Callable[[V], bool]) -> Response:
        """Answer with server-sent events: each holds the whole view as JSON, with a hash of it as its id.

        An error of the first `read` is raised here, before the response begins. A client that reconnects receives only
        what has changed since the event that it names; after the last event it is answered 204, so that it does not
        reconnect again.
        """
        if self._closed.is_set():
            raise Unavailable("the service is stopping; watch again")
        if self.open_events >= MAX_EVENT_STREAMS:
            raise TooMany(f"{MAX_EVENT_STREAMS} event streams are open; retry when some have ended")
        view = read()
        known = request.headers.get("last-event-id") == _id_of(view.model_dump_json())
        if known and ended(view):
            return Response(status_code=204)
        first = KEEPALIVE_COMMENT if known else _event(view)
        return EventStream(self._events(first, view, read, ended), headers=HEADERS)

    def views(self, context: grpc.ServicerContext, read: Callable[[], V], ended: Callable[[V], bool]) -> Iterator[V]:
        """Yield the views of one gRPC stream. It ends when the client leaves, and with Unavailable when the service
        stops."""
        gone = threading.Event()
        if not context.add_callback(gone.set):
            return
        view = read()
        yield view
        while not ended(view) and not gone.wait(POLL_INTERVAL_S):
            if self._closed.is_set():
                raise Unavailable("the service is stopping; watch again")
            newest = _poll(read, view)
            if newest != view:
                view = newest
                yield view

    async def _events(
        self, first: bytes, view: V, read: Callable[[], V], ended: Callable[[V], bool]
    ) -> AsyncIterator[bytes]:
        self.open_events += 1
        try:
            yield first
            sent = time.monotonic()
            while not ended(view) and not self._closed.is_set():
                await asyncio.sleep(POLL_INTERVAL_S)
                newest = await anyio.to_thread.run_sync(_poll, read, view, limiter=self._limiter)
                if newest != view:
                    view, sent = newest, time.monotonic()
                    yield _event(view)
                elif time.monotonic() - sent >= HEARTBEAT_S:
                    sent = time.monotonic()
                    yield KEEPALIVE_COMMENT
            if not ended(view):
                yield STOPPING
        finally:
            self.open_events -= 1


def _poll(read: Callable[[], Any], before: Any) -> Any:
    """Return the newest view, or the one before if the records do not answer."""
    try:
        return read()
    except Unavailable as error:
        log.info("stream waits", reason=str(error))
        return before


def _event(view: BaseModel) -> bytes:
    content = view.model_dump_json()
    return format_sse_event(data_str=content, id=_id_of(content))


def _id_of(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:16]
