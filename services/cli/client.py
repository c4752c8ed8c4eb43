"""A small client of the services' HTTP APIs. It sends PRIMITIVES_TOKEN and trusts the authorities in SSL_CERT_FILE."""

import json
import os
import re
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx

from services.activation_extraction.settings import ExtractionSettings
from services.annotation.settings import AnnotationSettings
from services.common.access.credentials import bearer, client_context
from services.common.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    NotSignedIn,
    PrimitivesError,
    TooMany,
    Unavailable,
)
from services.common.paging import MOST_ITEMS
from services.common.settings import Shared
from services.patch_rendering.settings import RenderingSettings
from services.training.settings import TrainingSettings

TIMEOUT_S = 30.0
STREAM_SILENCE_S = 60.0
"""Longest silence of a stream. Services send a line at least every fifteen seconds."""
CONNECT_S = 10.0
LONGEST_ANSWER = 4000
"""Characters that an error quotes of an answer: a proxy answers with whole pages."""
ERROR_OF: dict[int, type[PrimitivesError]] = {
    401: NotSignedIn,
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    422: InvalidInput,
    429: TooMany,
}
"""Errors by status. All from 500 on are Unavailable, others PrimitivesError."""
ADDRESS = re.compile(r"https?://([^/:@\[\]]+|\[[0-9a-fA-F:]+\])")


class Untrusted(Unavailable):
    """The certificate of a service is not trusted."""


@dataclass(frozen=True)
class Services:
    """Base URLs of the four services."""

    training: str
    activation_extraction: str
    patch_rendering: str
    annotation: str

    def all(self) -> tuple[str, str, str, str]:
        """The four base URLs, in the order of a plan."""
        return self.training, self.activation_extraction, self.patch_rendering, self.annotation


def named_services(url: str = "") -> Services:
    """Return the base URLs that the settings name, each service at its own port. `url` replaces scheme and host.

    InvalidInput if `url` has more than these.
    """
    shared = Shared()
    base = url.rstrip("/") or f"{'http' if shared.tls_certificate is None else 'https'}://{shared.host}"
    if not ADDRESS.fullmatch(base):
        raise InvalidInput(f"{url} is not an address of services; expected http://HOST, without a port or a path")
    settings = (TrainingSettings(), ExtractionSettings(), RenderingSettings(), AnnotationSettings())
    return Services(*(f"{base}:{one.http_port}" for one in settings))


def get(base: str, path: str) -> Any:
    """Send a GET and return its JSON.

    Unavailable if the service does not answer, or not with JSON; else an error of ERROR_OF with the service's message.
    """
    return _call("GET", base, path, None, {})


def get_all(base: str, path: str, field: str) -> list[Any]:
    """Read a list page by page and return the items of all pages, which have them in `field`; errors as for `get`."""
    items: list[Any] = []
    offset: int | None = 0
    while offset is not None:
        page = get(base, f"{path}?offset={offset}&limit={MOST_ITEMS}")
        items += page[field]
        offset = page.get("next_offset")  # an older service returns the whole list at once
    return items


def get_bytes(base: str, path: str) -> bytes:
    """Send a GET and return the content of its answer; errors as for `get`."""
    return _send("GET", base, path).content


def post(base: str, path: str, body: dict[str, Any], key: str = "") -> Any:
    """Send a POST and return its JSON; errors as for `get`. A repeated start with the same idempotency `key` starts
    nothing."""
    return _call("POST", base, path, body, {"idempotency-key": key} if key else {})


def post_file(base: str, path: str, file: Path) -> Any:
    """Send a file as the body of a POST and return the JSON of the answer; errors as for `get`."""
    headers = {"content-type": "application/octet-stream", "content-length": str(file.stat().st_size)}
    with file.open("rb") as content:
        return _json_of(base, _send("POST", base, path, headers, content=content).text)


def patch(base: str, path: str, body: dict[str, Any]) -> Any:
    """Send a PATCH and return its JSON; errors as for `get`."""
    return _call("PATCH", base, path, body, {})


@contextmanager
def open_events(base: str, path: str, last_id: str = "") -> Iterator[Iterator[tuple[str, Any]]]:
    """Open a stream of server-sent events; yields the id and the JSON of each. Errors as for `get`, also Unavailable
    when the service stops.

    With the id of an event, a service sends only what has changed since.
    """
    headers = _authorization() | ({"last-event-id": last_id} if last_id else {})
    limits = httpx.Timeout(STREAM_SILENCE_S, connect=CONNECT_S)
    with (
        _reported(base),
        httpx.stream("GET", f"{base}{path}", headers=headers, verify=_trust(), timeout=limits) as response,
    ):
        if not response.is_success:
            response.read()
            raise _error_of(response)
        yield _read_events(base, _lines(response.iter_bytes()))


def is_ready(base: str) -> bool:
    """Whether a service accepts work."""
    try:
        return httpx.get(f"{base}/readyz", verify=_trust(), timeout=2.0).is_success
    except httpx.TransportError:
        return False


def plan_stages(services: Services, plan_id: str) -> list[dict[str, Any]]:
    """Collect the stages of a plan that have begun from all services, in order."""
    stages: list[dict[str, Any]] = []
    for base in services.all():
        try:
            stages += get(base, f"/v1/plans/{plan_id}")["stages"]
        except NotFound:
            continue
    return stages


def _call(method: str, base: str, path: str, body: dict[str, Any] | None, headers: dict[str, str]) -> Any:
    return _json_of(base, _send(method, base, path, headers, json=body).text)


def _send(method: str, base: str, path: str, headers: dict[str, str] | None = None, **content: Any) -> httpx.Response:
    """Send a request with httpx's `json` or `content`, and return the answer if it is a success."""
    limits = httpx.Timeout(TIMEOUT_S, connect=CONNECT_S)
    with _reported(base):
        response = httpx.request(
            method,
            f"{base}{path}",
            headers=_authorization() | (headers or {}),
            verify=_trust(),
            timeout=limits,
            **content,
        )
    if response.is_success:
        return response
    raise _error_of(response)


@contextmanager
def _reported(base: str) -> Iterator[None]:
    """Raise Unavailable where httpx reports a connection that fails."""
    try:
        yield
    except httpx.RequestError as error:
        kind = Untrusted if "CERTIFICATE_VERIFY_FAILED" in str(error) else Unavailable
        raise kind(f"{base} does not answer: {error or type(error).__name__}") from error


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a body. httpx's own `iter_lines` also breaks lines at characters that a JSON text may hold."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.rstrip(b"\r").decode(errors="replace") for line in lines)


def _read_events(base: str, lines: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yield the id and the JSON of each event. Unavailable for the event with which a service stops."""
    event: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line and name:
            event[name] = value
            continue
        if event.get("event") == "stopping":
            raise Unavailable(f"{base} is stopping")
        if not line and "data" in event:
            yield event.get("id", ""), _json_of(base, event["data"])
        event = event if line else {}


def _json_of(base: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise Unavailable(f"{base} did not answer with JSON but with {text[:LONGEST_ANSWER]!r}") from error


def _error_of(response: httpx.Response) -> PrimitivesError:
    code, text = response.status_code, response.text[:LONGEST_ANSWER]
    kind = Unavailable if code >= 500 else ERROR_OF.get(code, PrimitivesError)
    return kind(f"{response.request.method} {response.request.url}: {code} {text}")


def _trust() -> ssl.SSLContext:
    shared = Shared()
    return _context(os.environ.get("SSL_CERT_FILE", ""), shared.tls_client_certificate, shared.tls_client_key)


@lru_cache(maxsize=1)
def _context(_authorities: str, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Cache `client_context`: reading the authorities takes longer than a call."""
    return client_context(certificate, key)


def _authorization() -> dict[str, str]:
    return bearer(Shared().token)
