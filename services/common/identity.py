"""Names of things: random where something new is asked for, derived where a repeated message must find the same."""

import hashlib
import uuid


def new_id(kind: str) -> str:
    """A fresh name such as `run-3f2a9c01d4e5`."""
    return f"{kind}-{uuid.uuid4().hex[:12]}"


def derived_id(kind: str, *parts: str) -> str:
    """The same name for the same parts: a message that is delivered twice makes one thing, not two."""
    return f"{kind}-{hashlib.sha256('/'.join(parts).encode()).hexdigest()[:12]}"
