"""Removes secrets from text that people and logs see: one place for everything that quotes URLs and headers."""

import re
from collections.abc import MutableMapping
from typing import Any

HIDDEN = "***"

# A password ends at the last @ before a blank or a quote: if it was not escaped, it may contain an @ itself. Messages
# that show the form of a URL write PASSWORD, SECRET or TOKEN (which is shorter than any real token).
_IN_URL = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://[^\s/:@'\"]*):(?!PASSWORD@|SECRET@)[^\s'\"]*@")
_IN_HEADER = re.compile(r"(?i)\b(bearer\s+)[^\s'\",;]{8,}")
_IN_COOKIE = re.compile(r"(?i)\b(primitives_session=)[^\s'\",;]+")
_NAMED = re.compile(r"(?i)\b((?:password|passwd|secret|token|secret_key)=)[^\s'\"&,;]+")


def redacted(text: str) -> str:
    """Hide the passwords in URLs, bearer tokens, session cookies, and values whose name says that they are secret."""
    text = _IN_URL.sub(rf"\1:{HIDDEN}@", text)
    for pattern in (_IN_HEADER, _IN_COOKIE, _NAMED):
        text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return text


def redacted_values(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Apply `redacted` to every value of an event, also in lists and mappings. A structlog processor."""
    return {name: _clean(value) for name, value in event.items()}


def scheme_of(url: str) -> str:
    """Return the scheme of a URL, which is no secret; empty if the text is not a URL."""
    scheme, separator, _ = url.partition("://")
    return scheme[:20] if separator and scheme.isascii() and scheme.replace("+", "").isalnum() else ""


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {name: _clean(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value if isinstance(value, int | float | bool | None) else redacted(str(value))
