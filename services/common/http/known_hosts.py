"""The host names under which services without tokens may be called.

The threat is DNS rebinding: a page of another site lets its own name resolve to 127.0.0.1. For the browser this service
then has the origin of that page, which may read and change anything. But the Host header still contains that name.
"""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from services.common.access.edge import is_loopback
from services.common.http.app import problem_of


class KnownHosts:
    """ASGI middleware that answers 421 to a call under a name that is neither a loopback name nor one of `names`.

    A call without a Host header is allowed: no browser sends one.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = host_name(Headers(scope=scope).get("host", "localhost"))
        if is_loopback(name) or name in self._names:
            await self._app(scope, receive, send)
            return
        refusal = HTTPException(421, f"the host name {name[:100]} is not allowed; see PRIMITIVES_ALLOWED_HOSTS")
        await problem_of(refusal)(scope, receive, send)


def host_name(header: str) -> str:
    """Return the name in a Host header in lower case, without its port and the brackets of an IPv6 address."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.rpartition(":")[0].lower() if ":" in header else header.lower()
