"""Removes secrets from text that people and logs see, and shortens what is quoted: one place for everything that quotes
URLs, headers and names.

Callers choose this text, some of them before they have signed in. So the time is linear in its length: no pattern
begins with an unbounded repetition, and a repetition that fails is not repeated from the next character
(tests/unit/test_patterns.py).
"""

import re
from collections.abc import MutableMapping
from typing import Any

HIDDEN = "***"

LONGEST_QUOTE = 200
"""Characters of a name or value that an error message quotes."""

# What follows `://USER:` up to the next blank or quote. Messages that show the form of a URL write PASSWORD, SECRET or
# TOKEN (which is shorter than any real token).
_IN_URL = re.compile(r"(://[^\s/:@'\"]*+:)(?!PASSWORD@|SECRET@)([^\s'\"]*+)")
_IN_HEADER = re.compile(r"([bB](?i:earer)\s++)[^\s'\",;]{8,}")
# These two begin with characters before the = because that is faster than to search for whole names.
_IN_COOKIE = re.compile(r"([oO][nN]=)(?i:(?<=primitives_session=))[^\s'\",;]+")
_NAMED = re.compile(
    r"([rweRWE][dtnyDTNY]=)(?i:(?<=password=)|(?<=passwd=|secret=)|(?<=token=)|(?<=secret_key=))[^\s'\"&,;]+"
)


def redacted(text: str) -> str:
    """Hide the passwords in URLs, bearer tokens, session cookies, and values whose name says that they are secret."""
    text = _IN_URL.sub(_without_password, text)
    for pattern in (_IN_HEADER, _IN_COOKIE, _NAMED):
        text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return text


def shortened(text: str, longest: int = LONGEST_QUOTE) -> str:
    """Cut a text to at most `longest` characters. A mark at its end says how long it was.

    Redact a text before it is cut: in half a URL, `redacted` does not find the password.
    """
    mark = f"… ({len(text)} characters)"
    return text if len(text) <= longest else text[: longest - len(mark)] + mark


def quoted(value: object) -> str:
    """Return a value from outside as an error message quotes it: in quotes, escaped, redacted and shortened."""
    if isinstance(value, str):
        return repr(shortened(redacted(value)))
    return shortened(redacted(repr(value)))


def redacted_values(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Apply `redacted` to every value of an event, also in lists and mappings. A structlog processor."""
    return {name: _clean(value) for name, value in event.items()}


def scheme_of(url: str) -> str:
    """Return the scheme of a URL, which is no secret; empty if the text is not a URL."""
    scheme, separator, _ = url.partition("://")
    return scheme[:20] if separator and scheme.isascii() and scheme.replace("+", "").isalnum() else ""


def _without_password(found: re.Match[str]) -> str:
    """Hide what is between the user and the last @: a password that was not escaped may contain an @ itself."""
    user, rest = found.groups()
    end = rest.rfind("@")
    return found[0] if end < 0 else f"{user}{HIDDEN}{rest[end:]}"


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {name: _clean(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value if isinstance(value, int | float | bool | None) else redacted(str(value))
