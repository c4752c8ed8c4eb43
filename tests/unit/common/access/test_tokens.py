"""Tokens: who may call, over HTTP and over gRPC, without and with TLS."""

import errno
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import httpx
import pytest
from fastapi.testclient import TestClient
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from primitives.training.v1 import training_pb2 as pb
from primitives.training.v1 import training_pb2_grpc
from pydantic import ValidationError

from services.common.access.edge import Edge, Tls, open_edge
from services.common.access.tokens import Access, Tokens, add_token, read_tokens
from services.common.errors import Conflict, Forbidden, InvalidInput, NotSignedIn
from services.common.http.app import create_app
from services.common.settings import Shared
from tests.fakes.certificates import Authority
from tests.fakes.serving import NAME, serving_grpc, serving_http, training_channel


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


class Servicer(training_pb2_grpc.TrainingServiceServicer):
    """Answers two calls."""

    def GetRun(self, request: pb.GetRunRequest, context: grpc.ServicerContext) -> pb.GetRunResponse:
        return pb.GetRunResponse(run=pb.Run(run_id=request.run_id))

    def StartRun(self, request: pb.StartRunRequest, context: grpc.ServicerContext) -> pb.StartRunResponse:
        return pb.StartRunResponse()


def bearer(token: str) -> dict[str, str]:
    """Return the header that carries a token."""
    return {"authorization": f"Bearer {token}"}


def metadata(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that carry a token."""
    return (("authorization", f"Bearer {token}"),)


def test_a_file_holds_hashes_of_tokens(file: Path) -> None:
    """The token is returned once. The file holds its hash and its holder, and only its owner may read it."""
    token = add_token(file, "ana", ("training:read",), reader="Ana")
    assert token not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    caller = Tokens(file).holder(token)
    assert (caller.name, caller.reader, caller.scopes) == ("ana", "Ana", ("training:read",))
    with pytest.raises(InvalidInput, match="'ana' already"):
        add_token(file, "ana", ("training:read",))
    with pytest.raises(InvalidInput, match="scopes"):
        add_token(file, "ben", ("training:all",))


def test_adding_a_token_keeps_the_files_rights(file: Path) -> None:
    """A service of another user reads the file by its group; it still can after a token is added."""
    add_token(file, "ana", ("training:read",))
    file.chmod(0o640)
    add_token(file, "ben", ("training:read",))
    assert file.stat().st_mode & 0o777 == 0o640


def test_two_that_add_at_once_do_not_undo_each_other(file: Path) -> None:
    """The second one receives Conflict, and the file is unchanged; after an error the next one can add."""
    add_token(file, "ana", ("training:read",))
    aside = file.with_name(".tokens.json.new")
    aside.touch()
    with pytest.raises(Conflict, match=r"another process is adding a token, or was interrupted.*\.tokens\.json\.new"):
        add_token(file, "ben", ("training:read",))
    aside.unlink()
    with pytest.raises(InvalidInput):
        add_token(file, "ben", ("training:all",))
    add_token(file, "ben", ("training:read",))
    assert [caller.name for caller in read_tokens(file)] == ["ana", "ben"]


@pytest.mark.parametrize("shown", [None, "", "Bearer", "Bearer ", "Bearer no-such-token", "Basic YTpi", "bearer"])
def test_anything_but_a_known_token_is_refused(file: Path, shown: str | None) -> None:
    """NotSignedIn unless a bearer header carries a known token."""
    add_token(file, "ana", ("*:read",))
    with pytest.raises(NotSignedIn):
        Tokens(file).caller(shown)


def test_scopes_are_separate(file: Path) -> None:
    """A scope allows one verb at one service; a star allows it at every service; write does not include read."""
    token = add_token(file, "ana", ("training:write", "*:read"))
    caller = Tokens(file).holder(token)
    caller.check("training", "write")
    caller.check("annotation", "read")
    with pytest.raises(Forbidden, match="annotation:write"):
        caller.check("annotation", "write")


def test_a_token_of_a_reader_manages_nothing(file: Path) -> None:
    """A token that is bound to a reader is refused with the scope to manage, when it is made and when a file has it."""
    with pytest.raises(InvalidInput, match="a reader's token has no annotation:manage"):
        add_token(file, "ana", ("annotation:write", "annotation:manage"), reader="Ana")
    assert not file.exists()
    add_token(file, "owner", ("annotation:manage",))
    entries = json.loads(file.read_text())
    file.write_text(json.dumps([entries[0] | {"reader": "Ana"}]))
    with pytest.raises(InvalidInput, match=r"tokens\.json is wrong: .*bound to the reader Ana"):
        read_tokens(file)


@pytest.mark.parametrize(
    ("scopes", "reader", "allowed"),
    [
        (("*:read", "*:write"), "", {"training:read", "training:write", "annotation:read", "annotation:write",
                                     "metrics:read"}),
        (("annotation:manage",), "", {"annotation:manage"}),
        (("metrics:read",), "", {"metrics:read"}),
        (("*:read", "*:write"), "Ana", {"training:read", "annotation:read", "annotation:write"}),
        (("training:write", "annotation:write"), "Ana", {"annotation:write"}),
        (("metrics:read",), "Ana", {"metrics:read"}),
    ],
)  # fmt: skip
def test_what_scopes_allow(file: Path, scopes: tuple[str, ...], reader: str, allowed: set[str]) -> None:
    """A star does not include the scope to manage. A token that is bound to a reader writes answers and nothing else:
    it does not start the plan that opens a study."""
    token = add_token(file, "one", scopes, reader)
    caller = Tokens(file).holder(token)
    pairs: list[tuple[str, Access]] = [
        ("training", "read"), ("training", "write"), ("annotation", "read"), ("annotation", "write"),
        ("annotation", "manage"), ("metrics", "read"),
    ]  # fmt: skip
    assert {f"{service}:{access}" for service, access in pairs if caller.allows(service, access)} == allowed


def test_a_token_expires(file: Path) -> None:
    """A token is refused after its date, and the error says so."""
    past = add_token(file, "past", ("*:read",), expires=datetime.now(UTC) - timedelta(seconds=1))
    future = add_token(file, "future", ("*:read",), expires=datetime.now(UTC) + timedelta(hours=1))
    tokens = Tokens(file)
    assert tokens.holder(future).name == "future"
    with pytest.raises(NotSignedIn, match="past expired"):
        tokens.holder(past)


def test_tokens_are_added_and_revoked_without_a_restart(file: Path) -> None:
    """A change of the file counts at once; if the file becomes unreadable, the tokens read before stay valid."""
    first = add_token(file, "first", ("*:read",))
    tokens = Tokens(file)
    second = add_token(file, "second", ("*:read",))
    assert tokens.holder(second).name == "second"
    file.write_text(json.dumps([entry for entry in json.loads(file.read_text()) if entry["name"] == "second"]))
    with pytest.raises(NotSignedIn):
        tokens.holder(first)
    file.write_text("[{")
    assert tokens.holder(second).name == "second"
    file.unlink()
    assert tokens.holder(second).name == "second"


def test_a_read_that_failed_is_repeated(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a read that failed (too many open files, wrong rights) the next call reads again, and does not wait for
    another change of the file: a revoked token does not stay valid."""
    token = add_token(file, "first", ("*:read",))
    tokens = Tokens(file)
    file.write_text("[]")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", _too_many_files)
        assert tokens.holder(token).name == "first"
    with pytest.raises(NotSignedIn):
        tokens.holder(token)


def _too_many_files(_: Path) -> bytes:
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize("content", ["", "{}", '[{"name": "x"}]', '[{"name":"x","sha256":"ab","scopes":[]}]'])
def test_a_wrong_file_is_named(file: Path, content: str) -> None:
    """A service does not start with a token file that it cannot read."""
    file.write_text(content)
    with pytest.raises(InvalidInput, match=r"tokens\.json"):
        Tokens(file)


def test_http_allows_calls_by_scope(file: Path) -> None:
    """Without a token only health answers; a token with a read scope reads and does not write. Metrics need the scope
    metrics:read, which `*:read` includes, and which allows nothing else."""
    token, metrics = add_token(file, "ana", ("training:read",)), add_token(file, "prometheus", ("metrics:read",))
    reader_of_all = add_token(file, "all", ("*:read",))
    app = create_app("training", lambda: True, Tokens(file))
    app.get("/v1/runs")(lambda: {"runs": []})
    app.post("/v1/runs")(lambda: {"run": "new"})
    client = TestClient(app)
    for path in ("/healthz", "/readyz"):
        assert client.get(path).status_code == 200
    for path in ("/v1/runs", "/metrics", "/docs", "/openapi.json", "/nothing"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"], answer.headers["www-authenticate"]) == (
            401,
            "NotSignedIn",
            "Bearer",
        )
        assert client.get(path, headers=bearer(token + "x")).status_code == 401
    assert client.get("/v1/runs", headers=bearer(token)).json() == {"runs": []}
    assert client.post("/v1/runs", headers=bearer(token)).status_code == 403
    assert [client.get("/metrics", headers=bearer(one)).status_code for one in (token, metrics, reader_of_all)] == [
        403, 200, 200,
    ]  # fmt: skip
    assert "metrics:read" in client.get("/metrics", headers=bearer(token)).json()["message"]
    assert client.get("/v1/runs", headers=bearer(metrics)).status_code == 403
    assert "HTTPBearer" in client.get("/openapi.json", headers=bearer(token)).text


def test_grpc_allows_calls_by_scope(file: Path) -> None:
    """As over HTTP; reflection needs a token, too."""
    token = add_token(file, "ana", ("training:read",))
    with training_channel(Servicer(), Edge("training", tokens=Tokens(file))) as channel:
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=NAME), timeout=10)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        for call in (stub.GetRun, stub.StartRun):
            for shown in (None, metadata("wrong"), (("authorization", token),)):
                with pytest.raises(grpc.RpcError) as refused:
                    call(
                        pb.GetRunRequest() if call is stub.GetRun else pb.StartRunRequest(), metadata=shown, timeout=10
                    )
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert stub.GetRun(pb.GetRunRequest(run_id="r"), metadata=metadata(token), timeout=10).run.run_id == "r"
        with pytest.raises(grpc.RpcError) as refused:
            stub.StartRun(pb.StartRunRequest(), metadata=metadata(token), timeout=10)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.RpcError) as refused:
            list(reflect(iter([request]), timeout=10))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        [listed] = reflect(iter([request]), metadata=metadata(token), timeout=10)
        assert NAME in [service.name for service in listed.list_services_response.service]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trusting(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(os.environ, "SSL_CERT_FILE", str(authority.bundle))
    return None


def test_both_servers_use_tls(authority: Authority, trusting: None, file: Path) -> None:
    """With a certificate both answer over TLS to callers that trust its authority, and to nobody in the clear."""
    token = add_token(file, "ana", ("*:read",))
    edge = Edge("training", tokens=Tokens(file), tls=Tls(authority.certificate, authority.key))
    app = create_app("training", lambda: True, edge.tokens)
    with serving_http(app, edge) as base, serving_grpc(Servicer(), edge) as address:
        answer = httpx.get(f"{base}/metrics", headers=bearer(token))
        assert answer.status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{base.replace('https', 'http')}/healthz")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{base}/healthz", verify=str(Authority(file.parent / "other").bundle))
        credentials = grpc.ssl_channel_credentials(authority.bundle.read_bytes())
        with grpc.secure_channel(address, credentials) as channel:
            stub = training_pb2_grpc.TrainingServiceStub(channel)
            assert stub.GetRun(pb.GetRunRequest(run_id="r"), metadata=metadata(token), timeout=10).run.run_id == "r"
        with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as refused:
            training_pb2_grpc.TrainingServiceStub(channel).GetRun(pb.GetRunRequest(run_id="r"), timeout=5)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_an_open_address_needs_tokens(file: Path, authority: Authority) -> None:
    """Binding beyond loopback without tokens is refused at start, and so are incomplete or missing TLS files."""
    for host in ("0.0.0.0", "192.0.2.1", "::", "example.org"):
        with pytest.raises(InvalidInput, match="PRIMITIVES_TOKENS_FILE"):
            open_edge("training", Shared(host=host))
    for host in ("127.0.0.1", "localhost", "::1", "127.1.2.3"):
        assert open_edge("training", Shared(host=host)).tokens is None
    add_token(file, "ana", ("*:read",))
    assert open_edge("training", Shared(host="0.0.0.0", tokens_file=file)).tokens is not None
    with pytest.raises(InvalidInput, match="belong together"):
        open_edge("training", Shared(tls_certificate=authority.certificate))
    with pytest.raises(InvalidInput, match=r"no file .*gone\.pem"):
        open_edge("training", Shared(tls_certificate=authority.certificate, tls_key=file.with_name("gone.pem")))


def test_settings_hide_the_token() -> None:
    """Settings that are logged or quoted in an error do not contain the token."""
    settings = Shared(token="very-secret")  # type: ignore[arg-type]
    assert "very-secret" not in repr(settings) + str(settings)
    with pytest.raises(ValidationError):
        Shared(token=["x"])  # type: ignore[arg-type]
