"""The security events of the annotation service."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.annotation.schemas import Place
from services.annotation.workflow.responses import Responses
from services.annotation.workflow.studies import Studies
from services.common.access.audit import Audit
from services.common.access.tokens import Tokens, add_token
from services.common.http.audited import AuditedHttp
from services.common.settings import Shared
from tests.fakes.annotation import FORM, YES, Annotation, Browser


class Audited(Annotation):
    """The service with tokens and an audit file."""

    def __init__(self, folder: Path) -> None:
        self.file, tokens = folder / "audit.jsonl", folder / "tokens.json"
        self.ana = add_token(tokens, "ana", ("annotation:read", "annotation:write"), reader="Ana")
        self.owner = add_token(tokens, "owner", ("annotation:read", "annotation:manage"))
        super().__init__(folder, tokens=Tokens(tokens), shared=Shared(audit_file=self.file))
        self.served = AuditedHttp(self.app, Audit("annotation", self.file))

    def events(self, *names: str) -> list[tuple[str, ...]]:
        """Some fields of the lines since the last call."""
        lines = [json.loads(line) for line in self.file.read_text().splitlines()]
        self.file.unlink()
        return [tuple(line[name] for name in names) for line in lines]


@pytest.fixture
def audited(tmp_path: Path) -> Audited:
    return Audited(tmp_path)


def test_signing_in_and_out_is_recorded(audited: Audited) -> None:
    """With token, reader and address. A refused sign-in has no name that was typed: it may be a secret."""
    browser = Browser(audited.served)
    browser.post("/sign-in", data={"name": "typed-secret", "access_token": "guess"})
    browser.post("/sign-in", data={"name": "Ben", "access_token": audited.ana})
    browser.post("/sign-in", data={"name": "ana", "access_token": audited.ana})
    csrf = browser.form(audited.unit_path())["csrf"]
    assert browser.post("/sign-out", data={"csrf": csrf}, follow_redirects=False).status_code == 303
    text = audited.file.read_text()
    assert "typed-secret" not in text and "guess" not in text and audited.ana not in text
    found = [line for line in audited.events("event", "caller", "reader", "address", "outcome") if line[0] != "refusal"]
    assert found == [
        ("sign_in", "", "", "testclient", "refused: NotSignedIn"),
        ("sign_in", "ana", "", "testclient", "refused: Forbidden"),
        ("sign_in", "ana", "Ana", "testclient", "done"),
        ("sign_out", "", "Ana", "testclient", "done"),
    ]


def test_refusals_name_the_reader_of_the_session(audited: Audited) -> None:
    """A page that the session does not allow, a form of an earlier session, and a call from another site."""
    browser = Browser(audited.served)
    browser.post("/sign-in", data={"name": "Ana", "access_token": audited.ana})
    audited.events("event")
    assert browser.get("/extractions").status_code == 403
    assert browser.post(audited.unit_path(), data=FORM | {"csrf": "x"}).status_code == 403
    assert browser.post("/sign-out", headers={"origin": "https://evil.example"}).status_code == 403
    path = audited.unit_path().partition("?")[0]
    assert audited.events("event", "reader", "subject") == [
        ("refusal", "Ana", "GET /extractions"), ("refusal", "Ana", f"POST {path}"), ("refusal", "", "POST /sign-out"),
    ]  # fmt: skip


def test_opening_and_changing_a_study_is_recorded(audited: Audited) -> None:
    """With the owner's token, when labels are shown, and the number of members; a study of a plan names the plan."""
    client = Browser(audited.served, headers={"authorization": f"Bearer {audited.owner}"})
    body = {"rendering_id": "rendering-1", "members": {"names": ["Ana", "Ben"]}}
    study = client.post("/v1/studies", json=body).json()["study_id"]
    client.patch(f"/v1/studies/{study}", json={"labels_shown": "always", "members": {"everyone": True}})
    assert audited.events("event", "caller", "subject", "outcome") == [
        ("study_opened", "owner", study, "labels after_list, members 2"),
        ("study_changed", "owner", study, "labels always, members everyone"),
    ]
    audited.sent()
    studies = Studies(audited.ports, Audit("annotation", audited.file))
    for _ in range(2):
        studies.rendering_completed(audited.rendering.completed("plan-2"))
    opened = studies.plan("plan-2").stages[0].id
    assert audited.events("event", "caller", "subject", "outcome") == [
        ("study_opened", "plan plan-2", opened, "labels after_list")
    ]


def test_a_revealed_label_is_recorded(audited: Audited) -> None:
    """After each first answer in the mode after_answer, and once when the whole list is answered in after_list. A
    change of an answer reveals nothing new."""
    client = Browser(audited.served, headers={"authorization": f"Bearer {audited.ana}"})
    for version in (0, 1):
        saved = client.put(audited.api_path(0, "/response"), json={**FORM, "base_version": version})
        assert saved.status_code == 200
    assert audited.events("event", "caller", "reader", "subject", "outcome") == [
        ("label_revealed", "ana", "Ana", f"{audited.study_id}/block4/unit_0001", "done")
    ]
    audited.sent()
    study = audited.open_plan("plan-2", units_per_class=1)
    responses = Responses(audited.ports, Audit("annotation", audited.file))
    ana = audited.readers.named("Ana")
    units = [
        (study, layer.name, unit.unit)
        for layer in audited.studies.get(study).layers
        for unit in audited.units.part(ana, study, layer.name, Place(list="subset"), (0, 99)).units
    ]
    for key in units:
        assert not audited.file.exists()
        responses.put(ana, key, YES, 0)
    responses.put(ana, units[0], YES, 1)
    assert audited.events("event", "reader", "subject", "outcome") == [("label_revealed", "Ana", study, "done")]


def test_two_last_answers_at_once_reveal_the_study_once(annotation_everywhere: Annotation, tmp_path: Path) -> None:
    """Concurrent answers to the last units of the list record one reveal: the later one counts the earlier one."""
    annotation = annotation_everywhere
    audit = Audit("annotation", tmp_path / "audit.jsonl")
    study = annotation.open_plan("plan-2", units_per_class=1)
    ana = annotation.readers.named("Ana")
    keys = [
        (study, layer.name, unit.unit)
        for layer in annotation.studies.get(study).layers
        for unit in annotation.units.part(ana, study, layer.name, Place(list="subset"), (0, 99)).units
    ]
    responses = Responses(annotation.ports, audit)
    with ThreadPoolExecutor(len(keys)) as pool:
        list(pool.map(lambda key: responses.put(ana, key, YES, 0), keys))
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert [json.loads(line)["subject"] for line in lines] == [study]
