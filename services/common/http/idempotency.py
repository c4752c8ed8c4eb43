"""The idempotency key of an HTTP call that starts a task."""

from typing import Annotated

from fastapi import Depends, Header, Request

from services.common.access.tokens import Caller
from services.common.records import LONGEST_KEY
from services.common.work.starts import CallKey

DESCRIPTION = (
    "A key of the caller's choice. A repeated call with the same key and the same request starts nothing, and is "
    "answered with the task that the first one started. With another request it is refused. A key is remembered for "
    "at least seven days."
)


def _key_of_call(
    request: Request,
    idempotency_key: Annotated[str | None, Header(description=DESCRIPTION, max_length=LONGEST_KEY + 2)] = None,
) -> CallKey | None:
    caller: Caller | None = getattr(request.state, "caller", None)
    return CallKey.of(caller.name if caller is not None else "", idempotency_key)


StartKey = Annotated[CallKey | None, Depends(_key_of_call)]
"""The parameter of a route that starts a task."""
