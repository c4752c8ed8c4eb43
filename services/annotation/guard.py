"""Checks every request before it is handled, and adds security headers to every response.

The threat: a page of another site sends a request with the reader's cookie. So a request that changes something must
come from our own origin, as the browser reports it (Sec-Fetch-Site, Origin); forms and scripts must also carry the CSRF
token of the session (see `auth`). The content security policy refuses foreign scripts, frames and inline code.
"""

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.access.edge import is_loopback
from services.common.http.app import DIGITS, SAFE_METHODS, is_own_origin, problem_of
from services.common.http.known_hosts import host_name

FOR_PROGRAMS = ("/v1", "/metrics", "/openapi.json")
"""Prefixes of the addresses for programs, which need an access token if the service has any. Pages need a session."""
MOST_BYTES = 256 * 1024
"""The largest body of a request; almost all forms and calls of this service are much smaller."""
LARGEST_UPLOAD = 129 << 20
"""The largest body of the form that sends a mammogram, which has at most 128 MiB."""
_UPLOAD_PATH = re.compile(r"/extractions/[^/]+/explain")

POLICY = (
    "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    # With no-referrer, browsers would send `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
HSTS = "max-age=31536000"
"""Browsers use only HTTPS for this host name from now on, for a year. Other hosts of the domain are not concerned."""


def largest_body_of(path: str) -> int:
    """The most bytes of a body that a path accepts."""
    return LARGEST_UPLOAD if _UPLOAD_PATH.fullmatch(path) else MOST_BYTES


class Guard:
    """ASGI middleware that refuses requests from other origins and large requests, and adds HEADERS to responses.

    Responses without a cache-control header get `no-store`, because pages contain answers. Private ones that a browser
    may keep, which are pictures, belong to the session's cookie: another session of the same browser fetches them
    again, also where the browser ignores the request to forget them at sign-out (without TLS). `over_tls` also adds
    HSTS, except under a loopback name: there other programs of the machine serve without TLS.
    """

    def __init__(self, app: ASGIApp, public_origin: str, over_tls: bool = False) -> None:
        self._app = app
        self._public_origin = public_origin
        self._over_tls = over_tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
                if headers["cache-control"].startswith("private"):
                    headers.setdefault("vary", "cookie")
                if self._over_tls and not is_loopback(host_name(Headers(scope=scope).get("host", ""))):
                    headers.setdefault("strict-transport-security", HSTS)
            await send(message)

        refusal = _refuse_nul(scope)
        if refusal is None and scope["method"] not in SAFE_METHODS:
            refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not is_own_origin(headers, self._public_origin):
            return _refuse(
                scope,
                403,
                "This request came from another site and was refused. Behind a proxy that changes the Host, set "
                "PRIMITIVES_ANNOTATION_PUBLIC_ORIGIN to the address that browsers see.",
            )
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not (length.isascii() and length.isdigit()):
            return _refuse(scope, 411, "The request does not state its length.")
        most = largest_body_of(scope["path"])
        if len(length) > DIGITS or int(length) > most:
            return _refuse(scope, 413, f"The request is longer than {most} bytes.")
        return None


def _refuse_nul(scope: Scope) -> Response | None:
    """Refuse an address with a NUL: none of ours contains one, and PostgreSQL does not accept it in text."""
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        return _refuse(scope, 400, "The address contains a NUL character.")
    return None


def _refuse(scope: Scope, status: int, message: str) -> Response:
    """A refusal: plain text for people, JSON for programs."""
    if scope["path"].startswith(FOR_PROGRAMS):
        return problem_of(HTTPException(status, message))
    return PlainTextResponse(message, status_code=status)
