"""A small client of the services' HTTP APIs. It shows PRIMITIVES_TOKEN, and trusts what SSL_CERT_FILE holds."""

import json
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx

from services.common.access.credentials import bearer, client_context
from services.common.errors import Forbidden, NotFound, NotSignedIn, PrimitivesError, Unavailable
from services.common.settings import Shared

TIMEOUT_S = 30.0
STREAM_SILENCE_S = 60.0
"""Longest silence of a stream; services send a line at least every fifteen seconds."""
ERROR_OF: dict[int, type[PrimitivesError]] = {401: NotSignedIn, 403: Forbidden, 404: NotFound, 503: Unavailable}


@dataclass(frozen=True)
class Services:
    """Where the four services answer."""

    training: str
    activation_extraction: str
    patch_rendering: str
    annotation: str

    def all(self) -> tuple[str, str, str, str]:
        """Their base URLs in the order of a plan."""
        return self.training, self.activation_extraction, self.patch_rendering, self.annotation


def get(base: str, path: str) -> Any:
    """The JSON of a GET. An error of ERROR_OF, else PrimitivesError, with the words of the service."""
    return _call("GET", base, path, None)


def post(base: str, path: str, body: dict[str, Any]) -> Any:
    """The JSON of a POST; errors as for `get`."""
    return _call("POST", base, path, body)


def events(base: str, path: str) -> Iterator[Any]:
    """The JSON of each server-sent event of a GET, until the service ends the stream; errors as for `get`."""
    try:
        with httpx.stream(
            "GET", f"{base}{path}", headers=_authorization(), verify=_trust(), timeout=STREAM_SILENCE_S
        ) as answer:
            if not answer.is_success:
                answer.read()
                raise _error_of(answer)
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))
    except httpx.TransportError as error:
        raise Unavailable(f"{base} does not answer: {error}") from error


def is_ready(base: str) -> bool:
    """Whether a service takes work."""
    try:
        return httpx.get(f"{base}/readyz", verify=_trust(), timeout=2.0).is_success
    except httpx.TransportError:
        return False


def plan_stages(services: Services, plan_id: str) -> list[dict[str, Any]]:
    """The stages of a plan that have begun, in order, from all services."""
    stages: list[dict[str, Any]] = []
    for base in services.all():
        try:
            stages += get(base, f"/v1/plans/{plan_id}")["stages"]
        except NotFound:
            continue
    return stages


def _call(method: str, base: str, path: str, body: dict[str, Any] | None) -> Any:
    try:
        answer = httpx.request(
            method, f"{base}{path}", json=body, headers=_authorization(), verify=_trust(), timeout=TIMEOUT_S
        )
    except httpx.TransportError as error:
        raise Unavailable(f"{base} does not answer: {error}") from error
    if answer.is_success:
        return answer.json()
    raise _error_of(answer)


def _error_of(answer: httpx.Response) -> PrimitivesError:
    told = f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
    return ERROR_OF.get(answer.status_code, PrimitivesError)(told)


def _trust() -> ssl.SSLContext:
    shared = Shared()
    return _context(os.environ.get("SSL_CERT_FILE", ""), shared.tls_client_certificate, shared.tls_client_key)


@lru_cache(maxsize=1)
def _context(_authorities: str, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """As `client_context`; made once, since reading the authorities takes longer than a call."""
    return client_context(certificate, key)


def _authorization() -> dict[str, str]:
    token = Shared().token
    return bearer(token)
