"""The edge of a service: its address, TLS, and who may call. Its HTTP and gRPC servers share it."""

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from services.common.access.tokens import Tokens
from services.common.errors import InvalidInput
from services.common.machine.files import allowed_files
from services.common.settings import Shared


@dataclass(frozen=True)
class Tls:
    """PEM files: a server's certificate chain and private key, and the authorities of client certificates.

    `client_ca` is None where callers need no certificate.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Make the context of a server. InvalidInput if the files are not a certificate, its key and authorities."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(path) for path in (self.certificate, self.key, self.client_ca) if path is not None)
            raise InvalidInput(f"the TLS files {files} cannot be used: {error}") from error
        return context


@dataclass(frozen=True)
class ConnectionLimits:
    """How many connections a server has, and the seconds for which the HTTP server waits for a caller."""

    connections: int = 1000
    header_s: float = 10.0
    """For a TLS handshake, and then for the request line and the headers of each request."""
    body_s: float = 30.0
    send_s: float = 60.0
    """While the caller accepts nothing of an answer."""
    keep_alive_s: float = 10.0
    """For the next request on a connection."""


@dataclass(frozen=True)
class Edge:
    """Where servers listen and what callers must present. Without tokens, anyone who can connect may call."""

    service: str
    host: str = "127.0.0.1"
    tokens: Tokens | None = None
    tls: Tls | None = None
    allowed_hosts: frozenset[str] = frozenset()
    """Host names, other than those of loopback, under which services without tokens may be called."""
    limits: ConnectionLimits = ConnectionLimits()


def open_edge(service: str, shared: Shared) -> Edge:
    """Make the edge that the settings describe.

    InvalidInput for an address that other machines can use without tokens, for a certificate without its key or a key
    without its certificate, for client authorities without both, and for a file that does not exist.
    """
    if shared.tokens_file is None and not is_loopback(shared.host):
        raise InvalidInput(
            f"PRIMITIVES_HOST is {shared.host}, an address that other machines can use, and no tokens are set: "
            "set PRIMITIVES_TOKENS_FILE (`primitives token` makes one), or bind to 127.0.0.1"
        )
    tokens = Tokens(shared.tokens_file) if shared.tokens_file is not None else None
    hosts = frozenset(name.strip().lower() for name in shared.allowed_hosts.split(",") if name.strip())
    limits = ConnectionLimits(
        # The HTTP and gRPC servers of four services, their stores and their children may share a process.
        connections=min(shared.max_connections, allowed_files() // 16),
        header_s=shared.http_header_s,
        body_s=shared.http_body_s,
        send_s=shared.http_send_s,
        keep_alive_s=shared.http_keep_alive_s,
    )
    return Edge(service, shared.host, tokens, _tls(shared), hosts, limits)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can use an address."""
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
    """Check a certificate and its key, whose settings begin with `prefix`, and return both; None if neither is set.

    InvalidInput if one is set without the other, or if a file does not exist.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise InvalidInput(f"{prefix}_CERTIFICATE and {prefix}_KEY belong together; one of them is not set")
    _require_file(certificate)
    _require_file(key)
    return certificate, key


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}, which a TLS setting names")
