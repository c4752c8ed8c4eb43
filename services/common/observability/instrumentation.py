"""A span and a duration for every HTTP call and every job."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry.trace import INVALID_SPAN, Span, SpanKind
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.errors import JobCrashed, JobStopped
from services.common.observability.metrics import HTTP_REQUESTS, JOB_REPORTS, JOBS
from services.common.observability.tracing import span

UNTRACED = ("/healthz", "/readyz", "/metrics")
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
OTHER = "other"
"""The route of static files and of calls that match no route; the method of calls that use none of METHODS."""


class ObservedHttp:
    """ASGI middleware around a whole application: one span and one duration per call, named by its route template."""

    def __init__(self, app: ASGIApp, service: str) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, seconds, code = time.perf_counter(), None, 500

        async def send_observed(message: Message) -> None:
            nonlocal seconds, code
            if message["type"] == "http.response.start":
                seconds, code = time.perf_counter() - began, message["status"]
            await send(message)

        method = scope["method"] if scope["method"] in METHODS else OTHER
        with self._span(scope, method) as current:
            try:
                await self._app(scope, receive, send_observed)
            finally:
                route = getattr(scope.get("route"), "path", OTHER)
                elapsed = time.perf_counter() - began if seconds is None else seconds
                HTTP_REQUESTS.labels(self._service, method, route, str(code)).observe(elapsed)
                current.update_name(f"{method} {route}")
                current.set_attributes({"http.route": route, "http.response.status_code": code})

    def _span(self, scope: Scope, method: str) -> AbstractContextManager[Span]:
        if scope["path"] in UNTRACED:
            return nullcontext(INVALID_SPAN)
        return span(method, self._service, SpanKind.SERVER, Headers(scope=scope).get("traceparent", ""))


@contextmanager
def observed_job(service: str, function: str) -> Iterator[Callable[[], None]]:
    """Trace and time a job of a service. Yield a function to call at each of the job's reports."""
    began, outcome = time.perf_counter(), "failed"
    with span(f"job {function}", service):
        try:
            yield JOB_REPORTS.labels(service, function).inc
            outcome = "done"
        except JobStopped:
            outcome = "stopped"
            raise
        except JobCrashed:
            outcome = "crashed"
            raise
        finally:
            JOBS.labels(service, function, outcome).observe(time.perf_counter() - began)
