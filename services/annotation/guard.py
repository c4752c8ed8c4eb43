"""What every request passes before it is handled, and every answer before it leaves.

The threat: a page of another site (or a request it makes) that acts with the reader's cookie. Unsafe methods must come
from our own origin as the browser itself says it (Sec-Fetch-Site, Origin); forms and scripts carry the session's token
on top (see `auth`). Scripts from elsewhere, frames and inline code are refused by policy.
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.http.app import SAFE_METHODS, is_own_origin, problem_of

FOR_PROGRAMS = ("/v1", "/metrics", "/openapi.json")
"""How the addresses begin that are for programs: they need a token where there are any. Pages ask for a session."""
MOST_BYTES = 256 * 1024
"""Longest body of a request: no form and no call of this service comes near it."""

POLICY = (
    "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    # Not no-referrer: browsers would then send `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """ASGI middleware: refuses what comes from other origins or is too long, and adds the headers of HEADERS.

    What is not cacheable by its own word is not cached: pages hold answers.
    """

    def __init__(self, app: ASGIApp, public_origin: str) -> None:
        self._app = app
        self._public_origin = public_origin

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
            await send(message)

        refusal = _unprintable(scope)
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
        if "transfer-encoding" in headers or not length.isdigit():
            return _refuse(scope, 411, "The request does not say how long it is.")
        if int(length) > MOST_BYTES:
            return _refuse(scope, 413, f"The request is longer than {MOST_BYTES} bytes.")
        return None


def _unprintable(scope: Scope) -> Response | None:
    """No address of ours holds a NUL, and PostgreSQL takes none in text."""
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        return _refuse(scope, 400, "The address holds a NUL character.")
    return None


def _refuse(scope: Scope, status: int, told: str) -> Response:
    """In words for people, and as every other problem for programs."""
    if scope["path"].startswith(FOR_PROGRAMS):
        return problem_of(HTTPException(status, told))
    return PlainTextResponse(told, status_code=status)
