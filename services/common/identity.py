"""Names of things: random for new things, derived where a repeated message must find the same thing."""

import hashlib
import uuid


def new_id(kind: str) -> str:
    """Make a new name such as `run-3f2a9c01d4e5`."""
    return f"{kind}-{uuid.uuid4().hex[:12]}"


def derived_id(kind: str, *parts: str) -> str:
    """Make the same name from the same parts, so that a message that is delivered twice makes one thing, not two."""
    return f"{kind}-{hashlib.sha256('/'.join(parts).encode()).hexdigest()[:12]}"
