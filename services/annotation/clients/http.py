"""Another service as pages see it: over its HTTP API, with this service's own token."""

from collections.abc import AsyncIterator, Mapping
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError
from starlette.responses import Response, StreamingResponse

from services.common.access.credentials import bearer, client_context
from services.common.errors import Forbidden, InvalidInput, NotFound, PrimitivesError, Unavailable
from services.common.observability.tracing import traceparent
from services.common.settings import Shared

TIMEOUT_S = 10.0
STREAM_SILENCE_S = 60.0
"""Longest silence of a stream; the services send a line at least every fifteen seconds."""

ERRORS = {401: Forbidden, 403: Forbidden, 404: NotFound, 409: NotFound, 422: InvalidInput}
"""What an answer means for a page; anything else is Unavailable. A conflict is of something that is not there yet."""

Query = Mapping[str, str | int | list[int]]
V = TypeVar("V", bound=BaseModel)


class Sibling:
    """A service by its name in words. Every call may raise Unavailable, and Forbidden where the token of
    PRIMITIVES_TOKEN does not let this service read there."""

    def __init__(self, name: str, base_url: str, shared: Shared) -> None:
        self._name, self._base_url = name, base_url
        self._headers = bearer(shared.token)
        self._trust = client_context(shared.tls_client_certificate, shared.tls_client_key)
        self._client = httpx.Client(
            base_url=base_url,
            headers=self._headers,
            timeout=TIMEOUT_S,
            verify=self._trust,
            event_hooks={"request": [_add_trace]},
        )

    def get(self, path: str, kind: type[V], query: Query | None = None) -> V:
        """What a path answers, as far as `kind` says. NotFound, InvalidInput in the service's own words."""
        try:
            answer = self._client.get(path, params=query)
        except httpx.TransportError as error:
            raise self._unavailable(error) from error
        self._check(answer)
        try:
            return kind.model_validate(answer.json())
        except ValidationError as error:
            raise Unavailable(f"The {self._name} is of another version: {error.error_count()} fields differ") from error

    def fetch(self, path: str, asked: Mapping[str, str], kept: tuple[str, ...], query: Query) -> Response:
        """What a path answers to headers that are asked with, read whole, with the headers that are kept."""
        try:
            answer = self._client.get(
                path, params=query, headers={name: value for name, value in asked.items() if value}
            )
        except httpx.TransportError as error:
            raise self._unavailable(error) from error
        self._check(answer)
        return Response(answer.content, answer.status_code, _kept(answer, kept))

    async def pass_on(self, path: str, asked: Mapping[str, str], kept: tuple[str, ...]) -> Response:
        """As `fetch`, passed on as it comes: for streams."""
        client = httpx.AsyncClient(timeout=httpx.Timeout(TIMEOUT_S, read=STREAM_SILENCE_S), verify=self._trust)
        headers = self._headers | {name: value for name, value in asked.items() if value}
        request = client.build_request("GET", f"{self._base_url}{path}", headers=headers)
        try:
            answer = await client.send(request, stream=True)
            if answer.is_error:
                await answer.aread()
                self._check(answer)
        except httpx.TransportError as error:
            await client.aclose()
            raise self._unavailable(error) from error
        except PrimitivesError:
            await client.aclose()
            raise
        if answer.status_code != httpx.codes.OK:  # 204: there is nothing more to tell
            await answer.aclose()
            await client.aclose()
            return Response(status_code=answer.status_code, headers=_kept(answer, kept))
        return StreamingResponse(_blocks(client, answer), headers=_kept(answer, kept))

    def _check(self, answer: httpx.Response) -> None:
        if not answer.is_error:
            return
        try:
            told = answer.json()["message"]
        except (ValueError, KeyError, TypeError):
            told = f"it answers {answer.status_code}"
        raise ERRORS.get(answer.status_code, Unavailable)(f"The {self._name} says: {told}")

    def _unavailable(self, error: httpx.TransportError) -> Unavailable:
        return Unavailable(f"The {self._name} at {self._base_url} does not answer: {error}")


def _add_trace(request: httpx.Request) -> None:
    """The call belongs to the trace of the page that makes it."""
    if parent := traceparent():
        request.headers["traceparent"] = parent


def _kept(answer: httpx.Response, names: tuple[str, ...]) -> dict[str, str]:
    return {name: answer.headers[name] for name in names if name in answer.headers}


async def _blocks(client: httpx.AsyncClient, answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for block in answer.aiter_raw():
            yield block
    except httpx.TransportError:
        return  # the browser asks again by itself
    finally:
        await answer.aclose()
        await client.aclose()
