"""Client certificates: servers refuse callers without a certificate of the right authority."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from primitives.training.v1 import training_pb2, training_pb2_grpc

from services.annotation.clients.http import ServiceClient
from services.cli import client
from services.common.access.edge import Edge, Tls, open_edge
from services.common.errors import InvalidInput, Unavailable
from services.common.http.app import create_app
from services.common.settings import Shared
from tests.fakes.certificates import Authority
from tests.fakes.serving import serving_grpc, serving_http


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
    app = create_app("training", lambda: True)
    app.get("/v1/runs")(lambda: {"runs": [{"run_id": "run-1"}]})
    with serving_http(app, edge) as base:
        yield base


@pytest.fixture(scope="module")
def address(edge: Edge) -> Iterator[str]:
    with serving_grpc(training_pb2_grpc.TrainingServiceServicer(), edge) as address:
        yield address


def settings_of(caller: Authority | None, monkeypatch: pytest.MonkeyPatch, trusted: Authority) -> Shared:
    """Return the settings of a caller that trusts the servers' authority and presents this certificate, if any."""
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted.bundle))
    if caller is not None:
        monkeypatch.setenv("PRIMITIVES_TLS_CLIENT_CERTIFICATE", str(caller.certificate))
        monkeypatch.setenv("PRIMITIVES_TLS_CLIENT_KEY", str(caller.key))
    return Shared()


def test_the_command_and_the_pages_present_their_certificate(
    base: str, of_servers: Authority, of_callers: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are answered over HTTP with the client certificate of the settings."""
    shared = settings_of(of_callers, monkeypatch, of_servers)
    assert client.get(base, "/healthz")["status"] == "alive"
    assert client.is_ready(base)
    answer = ServiceClient("training service", base, shared).get("/v1/runs", training_pb2.ListRunsResponse)
    assert [run.run_id for run in answer.runs] == ["run-1"]


@pytest.mark.parametrize("presented", ["none", "of the servers"])
def test_a_caller_without_a_certificate_of_the_authority_is_refused(
    base: str, of_servers: Authority, presented: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection ends, and callers report Unavailable, without a certificate or with one of another authority."""
    shared = settings_of(None if presented == "none" else of_servers, monkeypatch, of_servers)
    with pytest.raises(Unavailable, match="does not answer"):
        client.get(base, "/healthz")
    assert not client.is_ready(base)
    with pytest.raises(Unavailable, match="does not answer"):
        ServiceClient("training service", base, shared).get("/v1/runs", training_pb2.ListRunsResponse)
    with pytest.raises(httpx.TransportError):
        httpx.get(base.replace("https", "http") + "/healthz")


def test_grpc_needs_the_same_certificate(address: str, of_servers: Authority, of_callers: Authority) -> None:
    """Health answers callers with a certificate of the authority, and no others."""

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


def test_settings_that_do_not_fit_together_are_named(
    of_servers: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """InvalidInput for client authorities without a server certificate, half a pair, and the key of another one."""
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
    with pytest.raises(InvalidInput, match="not a certificate and its key"):
        client.get("https://localhost:1", "/healthz")
