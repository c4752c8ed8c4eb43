"""Records refused HTTP calls in the audit log, and makes the address of the caller known to what the call records."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.access.audit import Actor, Audit, acting_as

REFUSALS = (401, 403, 421)
"""The codes of a refused call: no known token or session, not allowed, a foreign host name."""


class AuditedHttp:
    """ASGI middleware around all others. `scope["state"]` has the `caller` and the name of the `reader`, if known."""

    def __init__(self, app: ASGIApp, audit: Audit) -> None:
        self._app, self._audit = app, audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        address = scope["client"][0] if scope.get("client") else ""

        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in REFUSALS:
                caller = state.get("caller")
                actor = Actor(caller.name if caller is not None else "", state.get("reader", ""), address)
                subject = f"{scope['method']} {scope['path']}"
                self._audit.record("refusal", subject, outcome=str(message["status"]), actor=actor)
            await send(message)

        with acting_as(Actor(address=address)):
            await self._app(scope, receive, send_recorded)
