"""Addresses of servers of others, which an operator names in the settings."""

from urllib.parse import urlsplit

from services.common.access.edge import is_loopback
from services.common.errors import InvalidInput
from services.common.redaction import quoted


def check_address(address: str, what: str) -> None:
    """Raise InvalidInput for an address without TLS on another machine."""
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise InvalidInput(f"{what} is {quoted(address)}; expected https://")
