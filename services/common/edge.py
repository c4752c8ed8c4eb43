"""How a service's servers are reached: the address, TLS, and who may call. HTTP and gRPC share one."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from services.common.errors import InvalidInput
from services.common.settings import Shared
from services.common.tokens import Tokens


@dataclass(frozen=True)
class Tls:
    """A server's certificate chain and private key, both PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Edge:
    """Where servers listen and what callers must show; without tokens everyone who reaches the address may call."""

    service: str
    host: str = "127.0.0.1"
    tokens: Tokens | None = None
    tls: Tls | None = None


def open_edge(service: str, shared: Shared) -> Edge:
    """The edge that the settings describe. InvalidInput for an address that other machines reach without tokens, for
    half a pair of certificate and key, and for a file that is not there."""
    if shared.tokens_file is None and not is_loopback(shared.host):
        raise InvalidInput(
            f"PRIMITIVES_HOST is {shared.host}, which other machines can reach, and no tokens are set: "
            "set PRIMITIVES_TOKENS_FILE (`primitives token` makes one), or bind to 127.0.0.1"
        )
    tokens = Tokens(shared.tokens_file) if shared.tokens_file is not None else None
    return Edge(service, shared.host, tokens, _tls(shared))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls(shared: Shared) -> Tls | None:
    if shared.tls_certificate is None and shared.tls_key is None:
        return None
    if shared.tls_certificate is None or shared.tls_key is None:
        raise InvalidInput("PRIMITIVES_TLS_CERTIFICATE and PRIMITIVES_TLS_KEY belong together; one of them is not set")
    for path in (shared.tls_certificate, shared.tls_key):
        if not path.is_file():
            raise InvalidInput(f"there is no file {path}, which a setting of TLS names")
    return Tls(shared.tls_certificate, shared.tls_key)
