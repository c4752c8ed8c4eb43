"""By which names services may be called that ask for no token.

The threat is DNS rebinding: a page of another site has its own name resolved to 127.0.0.1, so that for the browser this
service is of that page's origin, which may then read and change what it likes. The Host header still says that name.
"""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from services.common.access.edge import is_loopback
from services.common.http.app import problem_of


class KnownHosts:
    """ASGI middleware: answers 421 to a call under a name that is neither loopback's nor one of `names`. A call without
    a Host comes from no browser."""

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
        told = f"this service is not called {name[:100]}; PRIMITIVES_ALLOWED_HOSTS says by which names it may be called"
        await problem_of(HTTPException(421, told))(scope, receive, send)


def host_name(header: str) -> str:
    """The name in a Host header, in lower case, without its port and without the brackets of an IPv6 address."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.rpartition(":")[0].lower() if ":" in header else header.lower()
