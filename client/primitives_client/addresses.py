"""Where the services are, and what a caller presents and trusts: arguments, else the variables of the command.

Nothing is read from the environment when this module is imported.
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from primitives_client.errors import InvalidInput

URL = re.compile(r"(?P<base>https?://(?:[^/:@\[\]]+|\[[0-9a-fA-F:]+\]))(?::(?P<port>[0-9]{1,5}))?")
PORTS = {
    "training": ("PRIMITIVES_TRAINING_HTTP_PORT", 8001),
    "activation_extraction": ("PRIMITIVES_EXTRACTION_HTTP_PORT", 8002),
    "patch_rendering": ("PRIMITIVES_RENDERING_HTTP_PORT", 8003),
    "annotation": ("PRIMITIVES_ANNOTATION_HTTP_PORT", 8000),
}
"""The variable with the port of each service, and its default."""


@dataclass(frozen=True)
class Addresses:
    """Base URLs of the four services."""

    training: str
    activation_extraction: str
    patch_rendering: str
    annotation: str


def find_addresses(url: str = "", own: Mapping[str, str] | None = None) -> Addresses:
    """Return the base URLs of the services.

    `url` is `http://HOST` or, with the port of the pages, `http://HOST:8000`; the other services have their own ports
    on the same host. Host, scheme and ports that are not given come from PRIMITIVES_HOST, PRIMITIVES_TLS_CERTIFICATE
    and PRIMITIVES_…_HTTP_PORT. `own` has base URLs of single services, which may have a path. InvalidInput for others.
    """
    base, port = _parts(url)
    found = {name: f"{base}:{os.environ.get(variable) or default}" for name, (variable, default) in PORTS.items()}
    if port:
        found["annotation"] = f"{base}:{port}"
    for name, address in (own or {}).items():
        if name not in found or not address.startswith(("http://", "https://")):
            raise InvalidInput(
                f"{name}={address!r} is not the address of a service; expected URLs of {', '.join(PORTS)}"
            )
        found[name] = address.rstrip("/")
    return Addresses(**found)


def find_token(token: str | None) -> str:
    """Return the token to send, by default that in PRIMITIVES_TOKEN. InvalidInput if no header can hold it."""
    found = (os.environ.get("PRIMITIVES_TOKEN", "") if token is None else token).strip()
    if not found.isascii() or not found.isprintable() or " " in found:
        raise InvalidInput("the token contains a blank, a line break or a non-ASCII letter")
    return found


def find_trust(authorities: str | Path | ssl.SSLContext | None) -> ssl.SSLContext:
    """Return the TLS context of the calls: the one given, or one that trusts the authorities in a PEM file.

    By default these are in the file that SSL_CERT_FILE names, or else those of the system. A client certificate is
    presented if PRIMITIVES_TLS_CLIENT_CERTIFICATE and PRIMITIVES_TLS_CLIENT_KEY name one.
    """
    if isinstance(authorities, ssl.SSLContext):
        return authorities
    try:
        context = ssl.create_default_context(cafile=authorities) if authorities else httpx.create_ssl_context()
        certificate, key = (os.environ.get(f"PRIMITIVES_TLS_CLIENT_{part}") for part in ("CERTIFICATE", "KEY"))
        if certificate or key:
            context.load_cert_chain(certificate or "", key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"the certificates cannot be read: {error}") from error
    return context


def _parts(url: str) -> tuple[str, str]:
    """Return scheme and host, and the port if there is one."""
    scheme = "https" if os.environ.get("PRIMITIVES_TLS_CERTIFICATE") else "http"
    whole = url.rstrip("/") or f"{scheme}://{os.environ.get('PRIMITIVES_HOST') or '127.0.0.1'}"
    found = URL.fullmatch(whole)
    if found is None:
        raise InvalidInput(f"{url!r} is not an address of services; expected http://HOST or http://HOST:PORT")
    return found["base"], found["port"] or ""
