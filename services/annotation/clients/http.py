"""Client of another service's HTTP API, with this service's own access token."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

import httpx
from google.protobuf.json_format import ParseError
from google.protobuf.message import Message
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from services.annotation.clients.breaker import Breaker
from services.common.access.credentials import bearer, client_context
from services.common.errors import Conflict, Forbidden, InvalidInput, NotFound, PrimitivesError, TooMany, Unavailable
from services.common.grpc import from_json
from services.common.observability.tracing import traceparent
from services.common.redaction import quoted
from services.common.runtime.status import ServiceStatus
from services.common.settings import Shared
from services.common.work.parked import ParkedList, ParkedOutcome, message_in_path
from services.common.work.tasks import Verb
from services.common.work.views import PlanStages

TIMEOUT = httpx.Timeout(10.0, connect=2.0)
"""Longest silence of a service within a call; a service that runs accepts a connection at once."""
SEND_TIMEOUT = httpx.Timeout(30.0, connect=2.0)
"""As TIMEOUT, for calls that change something: a start of a run builds its network first, to check it."""
CALLS = 8
"""Concurrent calls of one service. The pages have 40 threads; with three siblings that do not answer, some are left for
pages that need none of them."""
STREAM_SILENCE_S = 60.0
"""Longest silence of a stream; the services send a line at least every fifteen seconds."""

ERRORS = {401: Forbidden, 403: Forbidden, 404: NotFound, 409: NotFound, 422: InvalidInput}
"""The error that a page raises for a status code; Unavailable for any other. 409 means that something is not finished
yet, so a page cannot show it."""

LONGEST_HEADER = 1000
"""Characters of a header that is passed on to another service."""

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_LAYER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")

Query = Mapping[str, str | int | list[int]]
M = TypeVar("M", bound=Message)
V = TypeVar("V", bound=BaseModel)
T = TypeVar("T")


class ServiceClient:
    """A client of one service. `name` appears in error messages, for example "training service".

    Every method may raise Unavailable, and Forbidden if the token of PRIMITIVES_TOKEN does not allow reading there. A
    service that does not answer is not called for a while; see `Breaker`.
    """

    def __init__(self, name: str, base_url: str, shared: Shared, limit: int = CALLS) -> None:
        self._name, self._base_url = name, base_url
        self._breaker = Breaker(name, limit)
        self._headers = bearer(shared.token)
        self._trust = client_context(shared.tls_client_certificate, shared.tls_client_key, base_url)
        self._client = httpx.Client(
            base_url=base_url,
            headers=self._headers,
            timeout=TIMEOUT,
            verify=self._trust,
            event_hooks={"request": [_add_trace]},
        )

    def get(self, path: str, kind: type[M], query: Query | None = None) -> M:
        """The JSON answer to a path, as a protobuf message. NotFound and InvalidInput carry the service's message."""

        def parse(content: Any) -> M:
            if not isinstance(content, dict) or content.keys().isdisjoint(kind.DESCRIPTOR.fields_by_name):
                raise ParseError(f"the answer has no field of {kind.__name__}")
            return from_json(content, kind)

        return self._parse(self._request(path, query), parse)

    def view(self, path: str, kind: type[V], query: Query | None = None) -> V:
        """As `get`, for answers that have no protobuf message."""
        return self._parse(self._request(path, query), kind.model_validate)

    def plan(self, plan_id: str) -> PlanStages:
        """The stages of a plan that the service performs. NotFound before they have begun."""
        return self.view(f"/v1/plans/{id_in_path('plan', plan_id)}", PlanStages)

    def act_on_plan(self, verb: Verb, plan_id: str) -> PlanStages:
        """Pause, resume or cancel what the service performs for a plan."""
        return self.send("POST", f"/v1/plans/{id_in_path('plan', plan_id)}/{verb}", PlanStages)

    def send(self, method: str, path: str, kind: type[T], body: Any = None, key: str = "") -> T:
        """The JSON answer to a call that changes something, as a protobuf message or a model. Conflict if the state of
        what it changes does not allow it. A repeated start with the same idempotency `key` starts nothing. The token of
        PRIMITIVES_TOKEN must allow writing there."""
        headers = {"idempotency-key": key} if key else {}
        try:
            with self._breaker.call():
                answer = self._client.request(method, path, json=body or {}, headers=headers, timeout=SEND_TIMEOUT)
        except httpx.TransportError as error:
            raise self._unavailable(error) from error
        self._check(answer, ERRORS | {409: Conflict, 429: TooMany})
        return self._parse(answer, lambda content: _parsed(content, kind))

    def send_file(self, path: str, content: bytes, kind: type[M]) -> M:
        """The JSON answer to a file that is sent as the body. PRIMITIVES_TOKEN must allow writing there."""
        headers = {"content-type": "application/octet-stream"}
        try:
            with self._breaker.call():
                answer = self._client.post(path, content=content, headers=headers, timeout=SEND_TIMEOUT)
        except httpx.TransportError as error:
            raise self._unavailable(error) from error
        self._check(answer, ERRORS | {413: InvalidInput})
        return self._parse(answer, lambda found: _parsed(found, kind))

    def status(self) -> ServiceStatus:
        """The state of the service: its tasks, queues and dependencies."""
        return self._parse(self._request("/v1/status"), ServiceStatus.model_validate)

    def parked(self) -> ParkedList:
        """The parked messages of the service."""
        return self._parse(self._request("/v1/parked"), ParkedList.model_validate)

    def act_on_parked(self, message_id: str, verb: str) -> ParkedOutcome:
        """Replay or discard a parked message. Conflict if the message could have no effect. The token of
        PRIMITIVES_TOKEN must allow writing there."""
        try:
            answer = self._client.post(f"/v1/parked/{message_in_path(message_id)}/{verb}")
        except httpx.TransportError as error:
            raise self._unavailable(error) from error
        self._check(answer, ERRORS | {409: Conflict})
        return self._parse(answer, ParkedOutcome.model_validate)

    def fetch(self, path: str, query: Query, headers: Mapping[str, str], forwarded: tuple[str, ...]) -> Response:
        """The complete answer to a request with some `headers`, with those of its headers that are `forwarded`."""
        answer = self._request(path, query, headers)
        return Response(answer.content, answer.status_code, _forwarded_headers(answer, forwarded))

    async def stream(self, path: str, headers: Mapping[str, str], forwarded: tuple[str, ...]) -> Response:
        """As `fetch`, but passes the answer on block by block while it arrives."""
        timeout = httpx.Timeout(TIMEOUT.write, connect=TIMEOUT.connect, read=STREAM_SILENCE_S)
        client = httpx.AsyncClient(timeout=timeout, verify=self._trust)
        request = client.build_request("GET", f"{self._base_url}{path}", headers=self._headers | _sendable(headers))
        try:
            with self._breaker.call():
                answer = await _begin(client, request)
            if answer.is_error:
                await answer.aread()
                self._check(answer)
        except httpx.TransportError as error:
            await client.aclose()
            raise self._unavailable(error) from error
        except PrimitivesError:
            await client.aclose()
            raise
        if answer.status_code != httpx.codes.OK:  # 204: the stream has ended
            await answer.aclose()
            await client.aclose()
            return Response(status_code=answer.status_code, headers=_forwarded_headers(answer, forwarded))
        return StreamingResponse(_blocks(client, answer), headers=_forwarded_headers(answer, forwarded))

    def _request(
        self, path: str, query: Query | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        try:
            with self._breaker.call():
                answer = self._client.get(path, params=query, headers=_sendable(headers or {}))
        except httpx.TransportError as error:
            raise self._unavailable(error) from error
        self._check(answer)
        return answer

    def _parse(self, answer: httpx.Response, parse: Callable[[Any], T]) -> T:
        try:
            return parse(answer.json())
        except (ParseError, ValueError) as error:
            raise Unavailable(f"The {self._name} is of another version: its answer has other fields") from error

    def _check(self, answer: httpx.Response, errors: Mapping[int, type[PrimitivesError]] = ERRORS) -> None:
        if not answer.is_error:
            return
        try:
            message = answer.json()["message"]
        except (ValueError, KeyError, TypeError):
            message = f"status {answer.status_code}"
        raise errors.get(answer.status_code, Unavailable)(f"The {self._name} answered: {message}")

    def _unavailable(self, error: httpx.TransportError) -> Unavailable:
        return Unavailable(f"The {self._name} at {self._base_url} does not answer: {error}")


def id_in_path(noun: str, name: str) -> str:
    """Return the id of a run or an extraction, for the path of a request to another service.

    It comes from an address that anyone can write: `..` would name another resource there. NotFound unless it is an id.
    """
    return _checked(_ID, noun, name)


def layer_in_path(name: str) -> str:
    """Return the name of a layer, for the path of a request to another service. NotFound unless it can be one."""
    return _checked(_LAYER, "layer", name)


def _checked(pattern: re.Pattern[str], noun: str, name: str) -> str:
    if pattern.fullmatch(name) is None:
        raise NotFound(f"there is no {noun} {quoted(name)}")
    return name


def _parsed(content: Any, kind: type[T]) -> T:
    """The content of an answer as a protobuf message or a model. ValueError or ParseError if it is neither."""
    if issubclass(kind, Message):
        return from_json(content, kind)
    if issubclass(kind, BaseModel):
        return kind.model_validate(content)
    raise TypeError(f"{kind.__name__} is no message and no model")


def _add_trace(request: httpx.Request) -> None:
    """Make the request a part of the trace of the page that sends it."""
    if parent := traceparent():
        request.headers["traceparent"] = parent


def _sendable(headers: Mapping[str, str]) -> dict[str, str]:
    """Leave out the headers that are empty, and those that a browser has not sent in this form: a client refuses to
    send some of them."""
    return {
        name: value
        for name, value in headers.items()
        if 0 < len(value) <= LONGEST_HEADER and value.isascii() and value.isprintable()
    }


def _forwarded_headers(answer: httpx.Response, names: tuple[str, ...]) -> dict[str, str]:
    return {name: answer.headers[name] for name in names if name in answer.headers}


async def _begin(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """Send a request whose answer is a stream. Its beginning has the time-out of other calls."""
    try:
        async with asyncio.timeout(TIMEOUT.read):
            return await client.send(request, stream=True)
    except TimeoutError as error:
        raise httpx.ReadTimeout("timed out", request=request) from error


async def _blocks(client: httpx.AsyncClient, answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for block in answer.aiter_raw():
            yield block
    except httpx.TransportError:
        return  # the browser reconnects by itself
    finally:
        await answer.aclose()
        await client.aclose()
