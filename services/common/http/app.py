"""The HTTP application of every service: health, metrics, middleware, and one table from errors to codes."""

from collections.abc import Callable
from http import HTTPStatus

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Query
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services import __version__
from services.common import errors
from services.common.access.audit import name_caller
from services.common.access.tokens import Access, Tokens
from services.common.observability.metrics import registry_of
from services.common.redaction import quoted, shortened

LARGEST_BODY = 1 << 20
DIGITS = 15
"""Digits of a length that is read: Python refuses to read a number with thousands of them."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
HEALTH_PATHS = ("/healthz", "/readyz")
METRICS_PATH = "/metrics"
NO_BODY = (b"", b"{}", b"null")
"""Bodies that say nothing."""

STATUS_OF: dict[type[errors.PrimitivesError], int] = {
    errors.InvalidInput: 422,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.NotSignedIn: 401,
    errors.Forbidden: 403,
    errors.TooMany: 429,
    errors.Unavailable: 503,
}


class Problem(BaseModel):
    """The body of every error response."""

    error: str
    message: str


def status_of(error: errors.PrimitivesError) -> int:
    """Return the HTTP code of an error; 500 for errors that no caller can correct."""
    return next((code for kind, code in STATUS_OF.items() if isinstance(error, kind)), 500)


def problem_of(error: errors.PrimitivesError | RequestValidationError | HTTPException) -> JSONResponse:
    """Return the response to an error: its code, its name and its message."""
    if isinstance(error, RequestValidationError):
        return _answer(422, "InvalidInput", errors.describe_faults(error.errors()))
    if isinstance(error, HTTPException):
        return _answer(error.status_code, HTTPStatus(error.status_code).phrase.replace(" ", ""), str(error.detail))
    return _answer(status_of(error), type(error).__name__, str(error))


AccessOf = Callable[[str, str], Access]
"""Returns the access to a service that a call needs, from its method and its path."""


def method_access(method: str, _path: str) -> Access:
    """Return the access that a method needs where no path has a rule of its own."""
    return "read" if method in SAFE_METHODS else "write"


def create_app(
    service: str,
    ready: Callable[[], bool],
    tokens: Tokens | None = None,
    is_public: Callable[[str], bool] | None = None,
    access_of: AccessOf = method_access,
    largest_body_of: Callable[[str], int] = lambda _path: LARGEST_BODY,
) -> FastAPI:
    """Make a FastAPI application with `/healthz`, `/readyz`, `/metrics` and the table of errors.

    With `tokens`, every call needs one, except for health and for the paths for which `is_public` returns true: the
    application itself checks who calls these. An application with such paths must also refuse calls from other sites.
    `access_of` returns the access to the service that a method and a path need, and `largest_body_of` the most bytes of
    a body that a path accepts.
    """
    app = FastAPI(
        title=f"Visual Primitives: {service.replace('_', ' ')}",
        version=__version__,
        # FastAPI's own spans would lie within ours, and its error records quote text from which we remove secrets.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        responses={"default": {"model": Problem, "description": "What went wrong."}},
        # HTTPBearer documents the header for callers and /docs; Authentication below checks it.
        dependencies=[
            Depends(refuse_unknown),
            *([Depends(HTTPBearer(auto_error=False))] if tokens is not None else []),
        ],
    )
    app.state.registry = registry_of(service)
    for kind in (errors.PrimitivesError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer_problem)
    app.add_middleware(BodyLimit, largest_of=largest_body_of)
    if is_public is None:
        app.add_middleware(OwnOrigin)
    if tokens is not None:
        public = is_public or (lambda _path: False)
        app.add_middleware(Authentication, service=service, tokens=tokens, is_public=public, access_of=access_of)
    _add_health_routes(app, service, ready)
    return app


async def refuse_unknown(request: Request) -> None:
    """InvalidInput for a call that changes something with parameters that its route does not have: in its address, or
    in a body that the route does not read. They would be ignored, and the work would be another than the caller meant.

    Models of bodies refuse their unknown fields themselves (`RequestModel`). Pages are free to have parameters.
    """
    if request.method in SAFE_METHODS or not request.url.path.startswith("/v1/"):
        return
    route: APIRoute = request.scope["route"]
    known = {one.alias for one in get_flat_params(route.dependant) if isinstance(one.field_info, Query)}
    if unknown := [name for name in request.query_params if name not in known]:
        names = ", ".join(map(quoted, unknown[:10]))
        raise errors.InvalidInput(f"this call has no parameters {names} in its address; see its body and its path")
    if route.body_field is None and (await request.body()).strip() not in NO_BODY:
        raise errors.InvalidInput("this call has no body; its parameters are in its address")


async def _answer_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, (errors.PrimitivesError, RequestValidationError, HTTPException))
    return problem_of(error)


def _add_health_routes(app: FastAPI, service: str, ready: Callable[[], bool]) -> None:
    """Health answers on the event loop, so that it needs none of the threads that other calls may occupy.

    So `ready` must return at once: it may read neither records, store nor broker.
    """

    @app.get("/healthz", tags=["health"])
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "alive", "service": service, "version": __version__}

    @app.get(
        "/readyz",
        tags=["health"],
        response_class=PlainTextResponse,
        responses={503: {"description": "Not ready to accept work.", "content": {"text/plain": {}}}},
    )
    async def readyz() -> Response:
        """The service accepts work."""
        return PlainTextResponse("ready") if ready() else PlainTextResponse("not ready", status_code=503)

    @app.get(METRICS_PATH, tags=["health"], include_in_schema=False)
    def metrics() -> Response:
        """Prometheus metrics of this service in this process."""
        return Response(generate_latest(app.state.registry), media_type=CONTENT_TYPE_LATEST)


class Authentication:
    """Answers 401 to a request without a known token, and 403 if the token's scopes do not allow the call, before it
    reads the body. The caller of any other request is `request.state.caller`."""

    def __init__(
        self, app: ASGIApp, service: str, tokens: Tokens, is_public: Callable[[str], bool], access_of: AccessOf
    ) -> None:
        self._app, self._service, self._tokens = app, service, tokens
        self._is_public, self._access_of = is_public, access_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS or self._is_public(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            # In a thread, since this may read the token file again.
            caller = await run_in_threadpool(self._tokens.caller, Headers(scope=scope).get("authorization"))
            scope.setdefault("state", {})["caller"] = caller
            name_caller(caller.name, caller.reader)
            caller.check(*self._needed(scope["method"], scope["path"]))
        except errors.PrimitivesError as error:
            answer = problem_of(error)
            if isinstance(error, errors.NotSignedIn):
                answer.headers["www-authenticate"] = "Bearer"
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _needed(self, method: str, path: str) -> tuple[str, Access]:
        """Return the service and the access to it that a call needs. Metrics have a scope of their own."""
        return ("metrics", "read") if path == METRICS_PATH else (self._service, self._access_of(method, path))


class OwnOrigin:
    """Answers 403 to a call that may change something and comes from a page of another site.

    A browser lets such a page call services that bind to loopback.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        safe = scope["type"] != "http" or scope["method"] in SAFE_METHODS
        if safe or is_own_origin(Headers(scope=scope)):
            await self._app(scope, receive, send)
        else:
            refusal = HTTPException(403, "this call came from a page of another site and was refused")
            await problem_of(refusal)(scope, receive, send)


def is_own_origin(headers: Headers, public_origin: str = "") -> bool:
    """Return whether a call comes from a page of this service, or from no page at all.

    Programs send neither header. Browsers send at least one with every unsafe request.
    """
    origin = headers.get("origin")
    if origin is not None:
        own = origin == public_origin or origin.partition("://")[2] == headers.get("host", "")
        return own and origin != "null"
    return headers.get("sec-fetch-site", "none") in ("same-origin", "none")


class BodyLimit:
    """Answers 413 to a body above the limit of its path without reading the rest, whether or not its length is
    declared."""

    def __init__(self, app: ASGIApp, largest_of: Callable[[str], int] = lambda _path: LARGEST_BODY) -> None:
        self._app, self._largest_of = app, largest_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        largest = self._largest_of(scope["path"])
        too_large = HTTPException(413, f"a body has at most {largest} bytes")
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and (len(declared) > DIGITS or int(declared) > largest):
            await problem_of(too_large)(scope, receive, send)
            return
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > largest:
                raise too_large
            return message

        await self._app(scope, limited, send)


def _answer(status: int, name: str, message: str) -> JSONResponse:
    printable = shortened(message, errors.LONGEST_MESSAGE).encode(errors="replace").decode()
    return JSONResponse(Problem(error=name, message=printable).model_dump(), status_code=status)
