"""Takes secrets out of text that people and logs get to see: one place for all that quotes URLs and headers."""

import re
from collections.abc import MutableMapping
from typing import Any

HIDDEN = "***"

# The password reaches to the last @ before a blank or a quote: one that was not escaped may hold an @ itself. Messages
# that show what a URL looks like write PASSWORD or SECRET, and TOKEN, which is shorter than any token.
_IN_URL = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://[^\s/:@'\"]*):(?!PASSWORD@|SECRET@)[^\s'\"]*@")
_IN_HEADER = re.compile(r"(?i)\b(bearer\s+)[^\s'\",;]{8,}")
_IN_COOKIE = re.compile(r"(?i)\b(primitives_session=)[^\s'\",;]+")
_NAMED = re.compile(r"(?i)\b((?:password|passwd|secret|token|secret_key)=)[^\s'\"&,;]+")


def redacted(text: str) -> str:
    """The text without passwords of URLs, bearer tokens, session cookies, and values that are named a secret."""
    text = _IN_URL.sub(rf"\1:{HIDDEN}@", text)
    for pattern in (_IN_HEADER, _IN_COOKIE, _NAMED):
        text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return text


def redacted_values(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog: every value of an event as `redacted`, in lists and mappings too."""
    return {name: _clean(value) for name, value in event.items()}


def scheme_of(url: str) -> str:
    """What a URL begins with, which is no secret; empty for what is none."""
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
