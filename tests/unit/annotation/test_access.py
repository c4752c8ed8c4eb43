"""Access to the pages and the API when the service has access tokens."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from primitives.annotation.v1 import annotation_pb2 as pb
from primitives.annotation.v1 import annotation_pb2_grpc

from services.annotation.main import create_web
from services.annotation.rpc import MANAGING, AnnotationServicer
from services.annotation.settings import AnnotationSettings
from services.common.access.edge import Edge
from services.common.access.tokens import Tokens, add_token
from services.common.grpc import GrpcServer
from tests.fakes.annotation import FORM, LAYER, Annotation, Browser


class Guarded(Annotation):
    """The service with four access tokens: one of a program, one bound to the reader Ana, one that only allows reading,
    and one of the owner of studies."""

    def __init__(self, folder: Path) -> None:
        self.file = file = folder / "tokens.json"
        self.program = add_token(file, "program", ("annotation:read", "annotation:write"))
        self.ana = add_token(file, "ana", ("annotation:read", "annotation:write"), reader="Ana")
        self.read_only = add_token(file, "read_only", ("annotation:read",))
        self.owner = add_token(file, "owner", ("annotation:read", "annotation:manage"))
        self.tokens = Tokens(file)
        super().__init__(folder, tokens=self.tokens)


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path)


def change_entry(file: Path, name: str, **changes: Any) -> None:
    """Change an entry of the tokens' file as an operator does; without changes, remove it."""
    entries = {entry["name"]: entry for entry in json.loads(file.read_text())}
    entry = entries.pop(name)
    file.write_text(json.dumps([*entries.values(), *([entry | changes] if changes else [])]))


def headers(token: str, reader: str = "") -> dict[str, str]:
    """The headers of a call with an access token, for a reader if one is named."""
    return {"authorization": f"Bearer {token}"} | ({"x-reader": reader} if reader else {})


def test_pages_need_a_session_and_a_session_needs_a_token(guarded: Guarded) -> None:
    """Signing in needs a name and a token. The error is shown at its field, and a name alone is not enough."""
    browser = Browser(guarded.app)
    for path in ("/", guarded.unit_path(), "/docs", "/summary"):
        assert "Your access token" in browser.get(path).text
    assert browser.get(f"/pictures/{guarded.study_id}/{LAYER}/0/1.jpg").status_code == 401
    for form, status, message in (
        ({"name": "Ana"}, 401, "not known"),
        ({"name": "Ana", "access_token": "guess"}, 401, "not known"),
        ({"name": "Ana", "access_token": guarded.read_only}, 403, "annotation:write"),
        ({"name": "Ben", "access_token": guarded.ana}, 403, "another reader than Ben"),
        ({"name": " ", "access_token": guarded.program}, 422, "1 to 80"),
    ):
        answer = browser.post("/sign-in", data=form)
        assert (answer.status_code, message in answer.text) == (status, True), form
        wrong = re.findall(r'<input id="([a-z-]+)"[^>]* autofocus[^>]* aria-invalid="true"', answer.text)
        assert wrong == ["name" if status == 422 else "access-token"], form
        assert answer.text.count(" autofocus") == 1
        assert guarded.ana not in answer.text and guarded.program not in answer.text
    assert browser.get("/", follow_redirects=False).status_code == 303
    assert browser.post("/sign-in", data={"name": "ana", "access_token": f" {guarded.ana} "}).status_code == 200
    assert browser.get(guarded.unit_path()).status_code == 200
    assert browser.get("/docs").status_code == 200
    assert "no password" not in browser.get("/sign-in").text


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"expires": "2020-01-01T00:00:00Z"},
        {"scopes": ["annotation:read", "*:read"]},
        {"reader": "Ben"},
        {"sha256": "0" * 64},
    ],
    ids=["removed", "expired", "no longer allows writing", "bound to another reader", "replaced"],
)
def test_a_session_ends_with_its_token(guarded: Guarded, changes: dict[str, Any]) -> None:
    """When the access token of a session no longer allows signing in, the session ends: pages redirect to the sign-in,
    pictures are 401 and nothing is saved. Sessions of other tokens continue."""
    ana, ben = Browser(guarded.app), Browser(guarded.app)
    ana.post("/sign-in", data={"name": "Ana", "access_token": guarded.ana})
    ben.post("/sign-in", data={"name": "Ben", "access_token": guarded.program})
    form = ana.form(guarded.unit_path()) | FORM
    change_entry(guarded.file, "ana", **changes)
    assert "Your access token" in ana.get(guarded.unit_path()).text
    assert ana.get(f"/pictures/{guarded.study_id}/{LAYER}/unit_0001/1.jpg").status_code == 401
    assert ana.post(guarded.unit_path(), data=form).status_code == 401
    assert ben.get(guarded.unit_path()).status_code == 200
    assert [reader.answered for reader in guarded.responses.summary().readers] == [[], []]


def test_a_session_shows_units_as_long_as_its_token_allows_it(guarded: Guarded) -> None:
    """The unit browser checks the current scopes of the token, not those at sign-in."""
    browser = Browser(guarded.app)
    browser.post("/sign-in", data={"name": "Ana", "access_token": guarded.ana})
    assert browser.get("/extractions").status_code == 403
    change_entry(guarded.file, "ana", scopes=["annotation:write", "activation_extraction:read"])
    assert browser.get("/extractions").status_code == 503  # there is no extraction service
    change_entry(guarded.file, "ana", scopes=["annotation:write"])
    assert browser.get("/extractions").status_code == 403


def test_a_session_without_a_token_ends_when_tokens_are_required(guarded: Guarded) -> None:
    """A session that was opened by name alone is not valid once the service has access tokens."""
    open_to_all = create_web(AnnotationSettings(), guarded.ports)
    browser = Browser(open_to_all)
    browser.post("/sign-in", data={"name": "Ana"})
    assert browser.get(guarded.unit_path()).status_code == 200
    later = Browser(guarded.app, cookies=dict(browser.cookies))
    assert "Your access token" in later.get(guarded.unit_path()).text


def test_an_answer_survives_signing_in_again(guarded: Guarded) -> None:
    """A reader who was signed out while answering signs in with name and token, and the answer is still there."""
    browser = Browser(guarded.app)
    browser.post("/sign-in", data={"name": "Ana", "access_token": guarded.ana})
    form = browser.form(guarded.unit_path()) | FORM
    browser.cookies.clear()
    signed_out = browser.post(guarded.unit_path(), data=form)
    assert (signed_out.status_code, "Your access token" in signed_out.text) == (401, True)
    wrong = browser.post(guarded.unit_path(), data=form | {"sign_in_name": "Ana", "access_token": "guess"})
    assert (wrong.status_code, FORM["description"] in wrong.text) == (401, True)
    again = browser.post(guarded.unit_path(), data=form | {"sign_in_name": "Ana", "access_token": guarded.ana})
    assert (again.status_code, FORM["description"] in again.text) == (200, True)


def test_the_api_needs_a_token(guarded: Guarded) -> None:
    """The API needs a token even with a session. A token that is bound to a reader acts for that reader only."""
    client = Browser(guarded.app)
    client.post("/sign-in", data={"name": "Ana", "access_token": guarded.ana})
    for path in ("/v1/studies", "/v1/responses", "/metrics", "/openapi.json"):
        assert client.get(path).status_code == 401
    client.cookies.clear()
    put = {**FORM, "base_version": 0}
    assert (
        client.put(guarded.api_path(0, "/response"), json=put, headers=headers(guarded.read_only, "Ben")).status_code
        == 403
    )
    assert (
        client.put(guarded.api_path(0, "/response"), json=put, headers=headers(guarded.ana, "Ben")).status_code == 403
    )
    assert client.put(guarded.api_path(0, "/response"), json=put, headers=headers(guarded.ana)).status_code == 200
    assert (
        client.put(guarded.api_path(1, "/response"), json=put, headers=headers(guarded.program, "Ben")).status_code
        == 200
    )
    readers = client.get("/v1/summary", headers=headers(guarded.read_only, "Ben")).json()["readers"]
    assert {one["name"]: len(one["answered"]) for one in readers} == {"Ana": 1, "Ben": 1}
    assert client.get("/v1/responses", headers=headers(guarded.program)).status_code == 401


def test_only_an_owner_opens_and_changes_studies(guarded: Guarded) -> None:
    """A token that allows answering neither opens a study of the same rendering, which could show labels always, nor
    changes one, nor reads who its members are. A token with annotation:manage does all of it."""
    client, study = Browser(guarded.app), f"/v1/studies/{guarded.study_id}"
    always = {"labels_shown": "always"}
    opened = {"rendering_id": "rendering-1", **always}
    for token, expected in ((guarded.ana, 403), (guarded.program, 403), (guarded.read_only, 403), (guarded.owner, 0)):
        found = [
            client.post("/v1/studies", json=opened, headers=headers(token)).status_code,
            client.get(f"{study}/members", headers=headers(token)).status_code,
            client.patch(study, json=always, headers=headers(token)).status_code,
        ]
        assert found == ([expected] * 3 if expected else [202, 200, 200]), token
    put = client.put(guarded.api_path(0, "/response"), json=FORM, headers=headers(guarded.owner, "Ana"))
    assert (put.status_code, "annotation:write" in put.text) == (403, True)


@pytest.fixture
def stub(guarded: Guarded) -> Iterator[annotation_pb2_grpc.AnnotationServiceStub]:
    servicer = AnnotationServicer(
        guarded.readers, guarded.studies, guarded.units, guarded.responses, tokens=guarded.tokens
    )
    register = annotation_pb2_grpc.add_AnnotationServiceServicer_to_server
    edge = Edge("annotation", tokens=guarded.tokens)
    server = GrpcServer("x", lambda to: register(servicer, to), edge, 0, MANAGING)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield annotation_pb2_grpc.AnnotationServiceStub(channel)
    server.stop(0)


def test_grpc_honours_the_reader_of_a_token(guarded: Guarded, stub: annotation_pb2_grpc.AnnotationServiceStub) -> None:
    """Without metadata, the call is made by the reader of the token. Naming another reader is refused."""
    ana = ("authorization", f"Bearer {guarded.ana}")
    put = pb.PutResponseRequest(study_id=guarded.study_id, layer=LAYER, unit=0, **FORM)
    assert stub.PutResponse(put, metadata=[ana], timeout=10).response.version == 1
    with pytest.raises(grpc.RpcError) as refused:
        stub.PutResponse(put, metadata=[ana, ("reader", "Ben")], timeout=10)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.RpcError) as nobody:
        stub.ListResponses(
            pb.ListResponsesRequest(), metadata=[("authorization", f"Bearer {guarded.program}")], timeout=10
        )
    assert nobody.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_grpc_has_owners_too(guarded: Guarded, stub: annotation_pb2_grpc.AnnotationServiceStub) -> None:
    """Opening and changing a study, and reading its members, are PERMISSION_DENIED without annotation:manage."""
    study = {"study_id": guarded.study_id}
    changed = pb.ChangeStudyRequest(**study, members=pb.Members(names=["Ana"]), labels_shown="always")
    calls = [
        (stub.OpenStudy, pb.OpenStudyRequest(rendering_id="rendering-1", members=pb.Members(names=["Ana"]))),
        (stub.ChangeStudy, changed),
        (stub.GetMembers, pb.GetMembersRequest(**study)),
    ]
    for call, request in calls:
        for token in (guarded.ana, guarded.program, guarded.read_only):
            with pytest.raises(grpc.RpcError) as refused:
                call(request, metadata=[("authorization", f"Bearer {token}")], timeout=10)
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    answers = [call(request, metadata=[("authorization", f"Bearer {guarded.owner}")], timeout=10) for call, request in
               calls]  # fmt: skip
    assert answers[0].study.labels_shown == "after_list"
    assert answers[1].study.labels_shown == "always"
    assert list(answers[2].members.names) == ["Ana"]
