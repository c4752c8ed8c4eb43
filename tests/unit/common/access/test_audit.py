"""The audit log: each line is a JSON object, lines are only added, and none has a secret."""

import json
import os
import threading
from pathlib import Path

import grpc
import httpx
import pytest
from primitives.training.v1 import training_pb2 as pb
from primitives.training.v1 import training_pb2_grpc
from sqlalchemy.orm import Session
from structlog.testing import CapturingLogger
from typer.testing import CliRunner

from services.cli import evaluations
from services.cli.main import app
from services.common.access.audit import Actor, Audit, Line, acting_as
from services.common.access.edge import Edge, open_edge
from services.common.access.tokens import Tokens, add_token, remove_token
from services.common.errors import InvalidInput, NotSignedIn
from services.common.grpc.interceptors import address_of
from services.common.http.app import create_app
from services.common.records import open_records
from services.common.settings import Shared
from tests.fakes.serving import serving_grpc, serving_http

FIELDS = {"time", "service", "event", "caller", "reader", "address", "subject", "outcome"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def lines(file: Path) -> list[dict[str, str]]:
    """The lines of an audit file; each has the same fields."""
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    assert all(set(line) == FIELDS for line in found)
    return found


def events(file: Path, *names: str) -> list[tuple[str, ...]]:
    """Some fields of each line."""
    return [tuple(line[name] for name in names) for line in lines(file)]


def test_an_event_of_a_transaction_is_recorded_with_its_commit(file: Path, tmp_path: Path) -> None:
    """The line is written after the commit, and never if the transaction is rolled back. The journal has the event
    before, with the session, and every field of the line."""
    journaled: list[tuple[Line, Session | None]] = []

    class Memory:
        def append(self, line: Line, session: Session | None) -> None:
            journaled.append((line, session))

    audit, records = Audit("training", file, Memory()), open_records(f"sqlite:///{tmp_path / 'x.sqlite'}")
    with records.transaction() as session:
        audit.record("export", "one", session=session)
        assert (journaled[-1][0]["subject"], journaled[-1][1]) == ("one", session) and lines(file) == []
    with pytest.raises(InvalidInput), records.transaction() as session:
        audit.record("export", "two", session=session)
        raise InvalidInput("no")
    audit.record("export", "three")
    assert events(file, "subject") == [("one",), ("three",)]
    assert [line for line, _ in journaled if line["subject"] != "two"] == lines(file)
    assert journaled[-1][1] is None
    records.close()


def test_an_event_is_a_line_with_who_acted(file: Path) -> None:
    """The line names caller, reader and address: those of the current call, unless the event has its own. The file is
    for its owner only."""
    audit = Audit("training", file)
    with acting_as(Actor("ci", "", "10.0.0.1")):
        audit.record("study_opened", "study-1")
        audit.record("sign_in", actor=Actor(reader="Ana"), outcome="refused")
    audit.record("export", "run-1")
    assert events(file, "service", "event", "caller", "reader", "address", "subject", "outcome") == [
        ("training", "study_opened", "ci", "", "10.0.0.1", "study-1", "done"),
        ("training", "sign_in", "ci", "Ana", "10.0.0.1", "", "refused"),
        ("training", "export", "", "", "", "run-1", "done"),
    ]
    assert lines(file)[0]["time"].endswith("+00:00")
    assert file.stat().st_mode & 0o077 == 0


def test_lines_are_only_added(file: Path) -> None:
    """What a file has stays as it is, lines of concurrent writers do not mix, and a rotated file is made again."""
    file.write_text('{"kept": true}\n')
    writers = [
        threading.Thread(target=lambda: [Audit("x", file).record("refusal", "y" * 200) for _ in range(50)])
        for _ in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    first, *added = file.read_text().splitlines()
    assert first == '{"kept": true}'
    assert len([json.loads(line) for line in added]) == 200
    file.rename(file.with_suffix(".1"))
    Audit("x", file).record("refusal")
    assert len(lines(file)) == 1


def test_a_line_has_no_secret_and_no_second_line(file: Path) -> None:
    """Secrets in what callers send are hidden, long fields are cut, and a line break does not begin another line."""
    Audit("x", file).record("refusal", "GET /a\n{}\ud800 Bearer abcdefghijkl " + "z" * 5000, outcome="password=hidden")
    text = file.read_text()
    assert text.count("\n") == 1
    assert "abcdefghijkl" not in text and "hidden" not in text
    assert len(text) < 1000


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> CapturingLogger:
    """What the audit log writes to the structured log, whatever logs an earlier test has configured."""
    logger = CapturingLogger()
    monkeypatch.setattr("services.common.access.audit.log", logger)
    return logger


def test_without_a_file_events_are_lines_of_the_log(logged: CapturingLogger) -> None:
    """They have the name of the logger, so that a collector of logs can select them."""
    Audit("x").record("token_made", "ana")
    [line] = logged.calls
    assert line.method_name == "info"
    assert [line.kwargs[name] for name in ("logger", "security_event", "subject")] == ["audit", "token_made", "ana"]


def test_a_file_that_cannot_be_written(tmp_path: Path, logged: CapturingLogger) -> None:
    """A service does not start with it. If it fails later, the event is an error in the log and the call continues."""
    with pytest.raises(InvalidInput, match=r"audit file .* cannot be appended to"):
        open_edge("training", Shared(audit_file=tmp_path))
    Audit("x", tmp_path / "none" / "audit").record("export", "run-1")
    assert [(line.method_name, line.kwargs["subject"]) for line in logged.calls] == [("error", "run-1")]


def test_refused_http_calls_are_recorded(file: Path, tokens_file: Path) -> None:
    """401 and 403 have the caller, if the token is known, the address, and the method and path without the query. Calls
    that are allowed have no line."""
    token = add_token(tokens_file, "ana", ("training:read",))
    edge = Edge("training", tokens=Tokens(tokens_file), audit_file=file)
    application = create_app("training", lambda: True, edge.tokens)
    application.get("/v1/runs")(lambda: {"runs": []})
    with serving_http(application, edge) as base:
        headers = {"authorization": f"Bearer {token}"}
        assert httpx.get(f"{base}/v1/runs?token=secret-in-query").status_code == 401
        assert httpx.get(f"{base}/v1/runs", headers={"authorization": "Bearer guessed-token"}).status_code == 401
        assert httpx.get(f"{base}/v1/runs", headers=headers).status_code == 200
        assert httpx.post(f"{base}/v1/runs", headers=headers).status_code == 403
        assert httpx.get(f"{base}/healthz").status_code == 200
    assert events(file, "event", "caller", "address", "subject", "outcome") == [
        ("refusal", "", "127.0.0.1", "GET /v1/runs", "401"),
        ("refusal", "", "127.0.0.1", "GET /v1/runs", "401"),
        ("refusal", "ana", "127.0.0.1", "POST /v1/runs", "403"),
    ]
    assert "secret-in-query" not in file.read_text() and "guessed-token" not in file.read_text()


def test_calls_under_a_foreign_name_are_recorded(file: Path) -> None:
    """A call under a host name that is not allowed (421) is a refusal too."""
    edge = Edge("training", audit_file=file)
    with serving_http(create_app("training", lambda: True), edge) as base:
        assert httpx.get(f"{base}/healthz", headers={"host": "evil.example"}).status_code == 421
    assert events(file, "event", "outcome") == [("refusal", "421")]


def test_refused_grpc_calls_are_recorded(file: Path, tokens_file: Path) -> None:
    """The same over gRPC, with the name of the method."""
    token = add_token(tokens_file, "ana", ("training:read",))
    edge = Edge("training", tokens=Tokens(tokens_file), audit_file=file)
    servicer = training_pb2_grpc.TrainingServiceServicer()
    with serving_grpc(servicer, edge) as address, grpc.insecure_channel(address) as channel:
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        for shown in (None, [("authorization", f"Bearer {token}")]):
            with pytest.raises(grpc.RpcError):
                stub.StartRun(pb.StartRunRequest(), metadata=shown, timeout=10)
    method = "/primitives.training.v1.TrainingService/StartRun"
    assert events(file, "event", "caller", "address", "subject", "outcome") == [
        ("refusal", "", "127.0.0.1", method, "NotSignedIn"),
        ("refusal", "ana", "127.0.0.1", method, "Forbidden"),
    ]


@pytest.mark.parametrize(
    ("peer", "address"), [("ipv4:10.0.0.1:5555", "10.0.0.1"), ("ipv6:%5B::1%5D:5555", "::1"), ("unix:", ""), ("", "")]
)
def test_the_address_of_a_grpc_peer(peer: str, address: str) -> None:
    """The port is left out."""
    assert address_of(peer) == address


def test_changes_of_the_tokens_file_are_recorded(file: Path, tokens_file: Path) -> None:
    """A service records which tokens are new, changed or gone when it reads the file again, also after a change by
    hand. It records nothing at its start."""
    add_token(tokens_file, "first", ("*:read",))
    tokens = Tokens(tokens_file, Audit("training", file))
    assert lines(file) == []
    second = add_token(tokens_file, "second", ("annotation:write",), reader="Ana")
    tokens.holder(second)
    changed = json.loads(tokens_file.read_text())
    changed[0]["scopes"] = ["*:read", "*:write"]
    tokens_file.write_text(json.dumps(changed))
    tokens.holder(second)
    remove_token(tokens_file, "second")
    with pytest.raises(NotSignedIn):
        tokens.holder(second)
    assert events(file, "event", "subject", "reader", "caller", "outcome") == [
        ("token_made", "second", "Ana", "tokens file", "in force: annotation:write"),
        ("token_changed", "first", "", "tokens file", "in force: *:read *:write"),
        ("token_revoked", "second", "Ana", "tokens file", "no longer in force"),
    ]
    assert second not in file.read_text()


def test_the_command_records_tokens_that_it_makes_and_revokes(file: Path, tokens_file: Path) -> None:
    """`primitives token` prints the token and nothing else, and records the user. --revoke removes it, once."""
    environment = {"PRIMITIVES_TOKENS_FILE": str(tokens_file), "PRIMITIVES_AUDIT_FILE": str(file)}

    def command(*words: str) -> tuple[int, str]:
        ended = CliRunner().invoke(app, ["token", *words], env=environment)
        return ended.exit_code, ended.stdout.strip()

    code, token = command("ana", "--scope", "annotation:read", "--reader", "Ana")
    assert code == 0
    assert Tokens(tokens_file).holder(token).name == "ana"
    assert command("ana", "--revoke") == (0, "")
    assert command("ana", "--revoke")[0] == 1
    assert command("ana")[0] == 1
    assert command("ana", "--revoke", "--scope", "annotation:read")[0] == 1
    user = f"user {os.getuid()}"
    assert events(file, "service", "event", "subject", "reader", "caller") == [
        ("cli", "token_made", "ana", "Ana", user), ("cli", "token_revoked", "ana", "", user),
    ]  # fmt: skip
    assert token not in file.read_text()


def test_an_export_is_recorded(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`primitives export` records the run, the checkpoint and the file."""
    monkeypatch.setattr(
        "services.cli.datasets.export_run", lambda *_: {"checkpoint_id": "checkpoint-1", "permission": ""}
    )
    monkeypatch.setenv("PRIMITIVES_AUDIT_FILE", str(file))
    evaluations.export("run-1", tmp_path / "network.onnx", "onnx")
    assert events(file, "service", "event", "subject", "outcome") == [
        ("cli", "export", "run-1 checkpoint-1", f"onnx to {tmp_path / 'network.onnx'}")
    ]


def test_a_line_is_ascii_and_redacted_before_it_is_cut(file: Path) -> None:
    """No character of a path is taken for the end of a line, and a long password is not half of it in the file."""
    audit = Audit("annotation", file)
    audit.record("refusal", "GET /\u2028\u0085\x9b", outcome="403")
    audit.record("refusal", "s3://user:" + "s" * 400 + "@host")
    assert file.read_bytes().isascii() and len(file.read_text().splitlines()) == 2
    assert "ssss" not in file.read_text()
    assert lines(file)[0]["subject"] == "GET /\u2028\u0085\x9b"


def test_a_line_that_is_cut_by_a_full_disk_is_reported(
    file: Path, monkeypatch: pytest.MonkeyPatch, logged: CapturingLogger
) -> None:
    """The structured log has the event, and the next one begins a line of its own."""
    written, whole = os.write, []

    def cut(descriptor: int, content: bytes) -> int:
        whole.append(content)
        return written(descriptor, content[:20] if len(whole) == 1 else content)

    monkeypatch.setattr("services.common.access.audit.os.write", cut)
    audit = Audit("annotation", file)
    audit.record("sign_in", "first")
    audit.record("sign_in", "second")
    assert [(line.args[0], line.kwargs["subject"]) for line in logged.calls] == [
        ("security event not written", "first")
    ]
    assert json.loads(file.read_text().splitlines()[1])["subject"] == "second"
