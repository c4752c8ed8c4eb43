"""A small client of the services' HTTP APIs. It sends PRIMITIVES_TOKEN and trusts the authorities in SSL_CERT_FILE."""

import json
import os
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx

from services.activation_extraction.settings import ExtractionSettings
from services.annotation.settings import AnnotationSettings
from services.common.access.credentials import bearer, client_context
from services.common.errors import Forbidden, InvalidInput, NotFound, NotSignedIn, PrimitivesError, Unavailable
from services.common.paging import MOST_ITEMS
from services.common.settings import Shared
from services.patch_rendering.settings import RenderingSettings
from services.training.settings import TrainingSettings

TIMEOUT_S = 30.0
STREAM_SILENCE_S = 60.0
"""Longest silence of a stream. Services send a line at least every fifteen seconds."""
ERROR_OF: dict[int, type[PrimitivesError]] = {401: NotSignedIn, 403: Forbidden, 404: NotFound, 503: Unavailable}
ADDRESS = re.compile(r"https?://([^/:@\[\]]+|\[[0-9a-fA-F:]+\])")


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
    """Send a GET and return its JSON. An error of ERROR_OF or else PrimitivesError, with the message of the service."""
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


def post(base: str, path: str, body: dict[str, Any], key: str = "") -> Any:
    """Send a POST and return its JSON; errors as for `get`. A repeated start with the same idempotency `key` starts
    nothing."""
    return _call("POST", base, path, body, {"idempotency-key": key} if key else {})


def events(base: str, path: str) -> Iterator[Any]:
    """Yield the JSON of each server-sent event of a GET until the service ends the stream; errors as for `get`."""
    try:
        with httpx.stream(
            "GET", f"{base}{path}", headers=_authorization(), verify=_trust(), timeout=STREAM_SILENCE_S
        ) as response:
            if not response.is_success:
                response.read()
                raise _error_of(response)
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))
    except httpx.TransportError as error:
        raise Unavailable(f"{base} does not answer: {error}") from error


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
    try:
        response = httpx.request(
            method, f"{base}{path}", json=body, headers=_authorization() | headers, verify=_trust(), timeout=TIMEOUT_S
        )
    except httpx.TransportError as error:
        raise Unavailable(f"{base} does not answer: {error}") from error
    if response.is_success:
        return response.json()
    raise _error_of(response)


def _error_of(response: httpx.Response) -> PrimitivesError:
    message = f"{response.request.method} {response.request.url}: {response.status_code} {response.text}"
    return ERROR_OF.get(response.status_code, PrimitivesError)(message)


def _trust() -> ssl.SSLContext:
    shared = Shared()
    return _context(os.environ.get("SSL_CERT_FILE", ""), shared.tls_client_certificate, shared.tls_client_key)


@lru_cache(maxsize=1)
def _context(_authorities: str, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Cache `client_context`: reading the authorities takes longer than a call."""
    return client_context(certificate, key)


def _authorization() -> dict[str, str]:
    return bearer(Shared().token)
