"""Progress as streams, over HTTP and gRPC alike: a view, and again whenever it has changed, until it has ended.

Records are looked at twice a second, since whoever changes them may be another process; a stream that is idle holds no
thread of the HTTP side, and one of those that `GrpcServer` has for streams on the gRPC side.
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

LOOK_INTERVAL_S = 0.5
HEARTBEAT_S = 15.0
"""Seconds without an event after which a line that clients ignore keeps proxies from closing the connection."""
MOST_EVENT_STREAMS = 500
LOOKING_THREADS = 4
"""Threads that look for all event streams together, so that the other calls keep theirs."""

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}

V = TypeVar("V", bound=BaseModel)


class EventStream(StreamingResponse):
    """Server-sent events. FastAPI's own class is for handlers that yield: their first error comes after the 200."""

    media_type = "text/event-stream"


class Streams:
    """The open streams of one service."""

    def __init__(self) -> None:
        self._closed = threading.Event()
        self.open_events = 0
        """Event streams that are open."""
        self._limiter = anyio.CapacityLimiter(LOOKING_THREADS)

    def close(self) -> None:
        """End all streams within LOOK_INTERVAL_S."""
        self._closed.set()

    def events(self, request: Request, look: Callable[[], V], ended: Callable[[V], bool]) -> Response:
        """Answer with server-sent events: each holds the whole view as JSON, and its id is a hash of that.

        What the first look raises is raised here, before the answer begins. A client that comes back after the last
        event is answered 204, which ends its coming back.
        """
        if self.open_events >= MOST_EVENT_STREAMS:
            raise TooMany(f"{MOST_EVENT_STREAMS} event streams are open; ask again when some have ended")
        view = look()
        if ended(view) and request.headers.get("last-event-id") == _id_of(view.model_dump_json()):
            return Response(status_code=204)
        return EventStream(self._events(view, look, ended), headers=HEADERS)

    def views(self, context: grpc.ServicerContext, look: Callable[[], V], ended: Callable[[V], bool]) -> Iterator[V]:
        """The views for one gRPC stream; it ends at once when the client leaves, and with Unavailable when the service
        stops."""
        gone = threading.Event()
        if not context.add_callback(gone.set):
            return
        view = look()
        yield view
        while not ended(view) and not gone.wait(LOOK_INTERVAL_S):
            if self._closed.is_set():
                raise Unavailable("the service is stopping; watch again")
            newest = _look_again(look, view)
            if newest != view:
                view = newest
                yield view

    async def _events(self, view: V, look: Callable[[], V], ended: Callable[[V], bool]) -> AsyncIterator[bytes]:
        self.open_events += 1
        try:
            yield _event(view)
            told = time.monotonic()
            while not ended(view) and not self._closed.is_set():
                await asyncio.sleep(LOOK_INTERVAL_S)
                newest = await anyio.to_thread.run_sync(_look_again, look, view, limiter=self._limiter)
                if newest != view:
                    view, told = newest, time.monotonic()
                    yield _event(view)
                elif time.monotonic() - told >= HEARTBEAT_S:
                    told = time.monotonic()
                    yield KEEPALIVE_COMMENT
        finally:
            self.open_events -= 1


def _look_again(look: Callable[[], Any], before: Any) -> Any:
    """The newest view, or the one before while the records do not answer."""
    try:
        return look()
    except Unavailable as error:
        log.info("stream waits", reason=str(error))
        return before


def _event(view: BaseModel) -> bytes:
    content = view.model_dump_json()
    return format_sse_event(data_str=content, id=_id_of(content))


def _id_of(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:16]
