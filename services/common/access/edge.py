"""How a service's servers are reached: the address, TLS, and who may call. HTTP and gRPC share one."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from services.common.access.tokens import Tokens
from services.common.errors import InvalidInput
from services.common.settings import Shared


@dataclass(frozen=True)
class Tls:
    """A server's certificate chain and private key, both PEM files; and those of the authorities of which callers must
    show a certificate, if they must show one."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True)
class Edge:
    """Where servers listen and what callers must show; without tokens everyone who reaches the address may call."""

    service: str
    host: str = "127.0.0.1"
    tokens: Tokens | None = None
    tls: Tls | None = None
    allowed_hosts: frozenset[str] = frozenset()
    """Names beside those of loopback by which services without tokens may be called."""


def open_edge(service: str, shared: Shared) -> Edge:
    """The edge that the settings describe. InvalidInput for an address that other machines reach without tokens, for
    half a pair of certificate and key, authorities of callers without such a pair, and a file that is not there."""
    if shared.tokens_file is None and not is_loopback(shared.host):
        raise InvalidInput(
            f"PRIMITIVES_HOST is {shared.host}, which other machines can reach, and no tokens are set: "
            "set PRIMITIVES_TOKENS_FILE (`primitives token` makes one), or bind to 127.0.0.1"
        )
    tokens = Tokens(shared.tokens_file) if shared.tokens_file is not None else None
    hosts = frozenset(name.strip().lower() for name in shared.allowed_hosts.split(",") if name.strip())
    return Edge(service, shared.host, tokens, _tls(shared), hosts)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls(shared: Shared) -> Tls | None:
    pair = pem_pair("PRIMITIVES_TLS", shared.tls_certificate, shared.tls_key)
    if pair is None:
        if shared.tls_client_ca is not None:
            raise InvalidInput("PRIMITIVES_TLS_CLIENT_CA is set, but the servers have no PRIMITIVES_TLS_CERTIFICATE")
        return None
    if shared.tls_client_ca is not None:
        _require_file(shared.tls_client_ca)
    return Tls(*pair, shared.tls_client_ca)


def pem_pair(prefix: str, certificate: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    """A certificate and its key, whose settings begin with `prefix`; None if neither is set. InvalidInput for one
    without the other, and for a file that is not there."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise InvalidInput(f"{prefix}_CERTIFICATE and {prefix}_KEY belong together; one of them is not set")
    _require_file(certificate)
    _require_file(key)
    return certificate, key


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}, which a setting of TLS names")
