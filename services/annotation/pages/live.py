"""Pages that show the newest state while they are open, by server-sent events of this service."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from services.annotation.auth import Auth
from services.common.http.streams import Streams

RECENT_S = 1.0
"""Seconds for which all streams of one list or plan share what was read of the other services."""

T = TypeVar("T")


class Live(BaseModel):
    """What a page shows. `over` ends the stream."""

    over: bool = False


L = TypeVar("L", bound=Live)


class Recent(Generic[T]):
    """Reads something for several streams at a time, once a while."""

    def __init__(self, read: Callable[[str], T], clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._clock = read, clock
        self._lock = Lock()
        self._found: dict[str, tuple[float, T]] = {}

    def get(self, name: str) -> T:
        """What was read under a name within the last RECENT_S, or is read now."""
        now = self._clock()
        with self._lock:
            self._found = {key: kept for key, kept in self._found.items() if now - kept[0] < RECENT_S}
            kept = self._found.get(name)
        if kept is not None:
            return kept[1]
        found = self._read(name)
        with self._lock:
            self._found[name] = (now, found)
        return found


def watch(streams: Streams, auth: Auth, request: Request, read: Callable[[], L]) -> Response:
    """Answer with the newest view whenever it changes, until it is over or the session has ended."""

    def read_allowed() -> L:
        view = read()
        return view if auth.still_researcher(request) else view.model_copy(update={"over": True})

    return streams.events(request, read_allowed, lambda view: view.over)
