"""Certificates of callers: who shows none of the right authority is not spoken to."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import BaseModel

from services.annotation.clients.http import Sibling
from services.cli import client
from services.common.access.edge import Edge, Tls, open_edge
from services.common.errors import InvalidInput, Unavailable
from services.common.grpc import GrpcServer
from services.common.http.app import create_app
from services.common.runtime.service import HttpServer
from services.common.settings import Shared
from tests.fakes.certificates import Authority


class Health(BaseModel):
    """What /healthz answers, as far as it matters here."""

    status: str


@pytest.fixture(scope="module")
def of_servers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("servers"))


@pytest.fixture(scope="module")
def of_callers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("callers"))


@pytest.fixture(scope="module")
def edge(of_servers: Authority, of_callers: Authority) -> Edge:
    return Edge("training", tls=Tls(of_servers.certificate, of_servers.key, of_callers.bundle))


@pytest.fixture(scope="module")
def base(edge: Edge) -> Iterator[str]:
    server = HttpServer(create_app("training", lambda: True), edge, 0)
    server.start()
    yield f"https://localhost:{server.port}"
    server.stop()


@pytest.fixture(scope="module")
def address(edge: Edge) -> Iterator[str]:
    server = GrpcServer("x", lambda _: None, edge, 0)
    server.start()
    yield f"localhost:{server.port}"
    server.stop()


def shown_by(caller: Authority | None, monkeypatch: pytest.MonkeyPatch, trusted: Authority) -> Shared:
    """The settings of a caller who trusts the servers' authority and shows this certificate, if any."""
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted.bundle))
    if caller is not None:
        monkeypatch.setenv("PRIMITIVES_TLS_CLIENT_CERTIFICATE", str(caller.certificate))
        monkeypatch.setenv("PRIMITIVES_TLS_CLIENT_KEY", str(caller.key))
    return Shared()


def test_the_command_and_the_pages_show_their_certificate(
    base: str, of_servers: Authority, of_callers: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the client's certificate of the settings both are answered over HTTP."""
    shared = shown_by(of_callers, monkeypatch, of_servers)
    assert client.get(base, "/healthz")["status"] == "alive"
    assert client.is_ready(base)
    assert Sibling("training service", base, shared).get("/healthz", Health).status == "alive"


@pytest.mark.parametrize("shown", ["none", "of the servers"])
def test_who_shows_no_certificate_of_the_authority_is_refused(
    base: str, of_servers: Authority, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No certificate, or one of another authority: the connection ends, and callers say that nobody answers."""
    shared = shown_by(None if shown == "none" else of_servers, monkeypatch, of_servers)
    with pytest.raises(Unavailable, match="does not answer"):
        client.get(base, "/healthz")
    assert not client.is_ready(base)
    with pytest.raises(Unavailable, match="does not answer"):
        Sibling("training service", base, shared).get("/healthz", Health)
    with pytest.raises(httpx.TransportError):
        httpx.get(base.replace("https", "http") + "/healthz")


def test_grpc_asks_for_the_same_certificate(address: str, of_servers: Authority, of_callers: Authority) -> None:
    """Health answers whoever shows a certificate of the authority, and nobody else."""

    def status(*pair: bytes) -> health_pb2.HealthCheckResponse:
        credentials = grpc.ssl_channel_credentials(of_servers.bundle.read_bytes(), *pair)
        with grpc.secure_channel(address, credentials) as channel:
            return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)

    mine = (of_callers.key.read_bytes(), of_callers.certificate.read_bytes())
    assert status(*mine).status == health_pb2.HealthCheckResponse.SERVING
    for pair in ((), (of_servers.key.read_bytes(), of_servers.certificate.read_bytes())):
        with pytest.raises(grpc.RpcError) as refused:
            status(*pair)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_settings_that_do_not_go_together_are_named(
    of_servers: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Authorities of callers without a server's certificate, half a pair of a caller, and a pair that is none."""
    pair = {"tls_certificate": of_servers.certificate, "tls_key": of_servers.key}
    with pytest.raises(InvalidInput, match="no PRIMITIVES_TLS_CERTIFICATE"):
        open_edge("training", Shared(tls_client_ca=of_servers.bundle))
    with pytest.raises(InvalidInput, match=r"no file .*gone\.pem"):
        open_edge("training", Shared(tls_client_ca=tmp_path / "gone.pem", **pair))
    opened = open_edge("training", Shared(tls_client_ca=of_servers.bundle, **pair))
    assert opened.tls == Tls(of_servers.certificate, of_servers.key, of_servers.bundle)
    monkeypatch.setenv("PRIMITIVES_TLS_CLIENT_CERTIFICATE", str(of_servers.certificate))
    with pytest.raises(InvalidInput, match="PRIMITIVES_TLS_CLIENT_CERTIFICATE and PRIMITIVES_TLS_CLIENT_KEY belong"):
        client.get("https://localhost:1", "/healthz")
    monkeypatch.setenv("PRIMITIVES_TLS_CLIENT_KEY", str(Authority(tmp_path / "other").key))
    with pytest.raises(InvalidInput, match="no certificate and its key"):
        client.get("https://localhost:1", "/healthz")
