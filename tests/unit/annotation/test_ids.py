"""Every route with ids of others, unknown ids and malformed ones: no server error, and nothing of others.

Each answer of a reader contains a mark, and the pictures have labels that nobody has revealed. The calls of all kinds
of callers are drawn by a fixed seed; no body may contain the mark of another reader, or a label.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import select

from services.annotation.answer import Answer
from services.annotation.label_schemas import SettleLabelRequest
from services.annotation.protocol_schemas import AnswerReadingRequest, DraftReadingRequest
from services.annotation.roles import Role
from services.annotation.schemas import ChangeStudyRequest, Members
from services.annotation.tables import ItemRow, ReadingRow
from services.annotation.workflow.accounts import Accounts
from services.annotation.workflow.labels import Labels
from services.annotation.workflow.protocols import Protocols
from services.annotation.workflow.readings import Readings
from services.common.access.tokens import Tokens, add_token
from tests.fakes.accounts import csrf_of
from tests.fakes.annotation import FORM, LAYER, Annotation, Browser
from tests.fakes.reading import FORM as STRUCTURED
from tests.fakes.reading import request
from tests.fakes.rendering import MAMMOGRAMS
from tests.unit.annotation.test_routes import AWAY, READ, WRITE, routes_of

READERS = ("Ana", "Ben", "Cleo")
CALLS_OF_A_ROUTE = 8
"""Calls of each caller to a route with ids, after those with existing ids."""
MALFORMED = ("0", "-1", "x" * 300, "9" * 40, "../..", "a/b", "' OR 1=1 --", "\u202e💩", "%00", "{id}", "<b>", "null")
UNKNOWN = {
    "study_id": "study-000000000000",
    "reading_id": "reading-00000000000000000000",
    "plan_id": "plan-9",
    "account_id": "account-000000000000",
}
LABELS = re.compile("|".join(re.escape(name) for name, *_ in MAMMOGRAMS) + '|data-class="|"class_name": ?"')
"""What only bodies with revealed labels contain: names of mammograms, which have the pathology, and classes."""
ACTIONS = ("/take", "/skip", "/reveal", "/close", "/replay", "/discard")
"""The ends of addresses whose calls have no body."""
EXPECTED = 503
"""The code of pages that need another service, which is away."""


def mark_of(reader: str) -> str:
    """The text in all answers of a reader, and in no other."""
    return f"mark-of-{reader}"


LABEL_MARK = "mark-of-label"
"""The text in the label that an adjudicator has given a unit."""


@dataclass(frozen=True)
class Caller:
    """A caller, what it sends with each call, and the marks that it may see."""

    name: str
    client: Browser
    headers: dict[str, str]
    form: dict[str, str]
    sees: tuple[str, ...] = ()
    manages: bool = False
    pages: bool = False


class Crowd(Annotation):
    """The service with answers of three readers: in a survey, under an open protocol of Ana and Ben, under one of Cleo,
    and under a closed one with a label that was settled."""

    def __init__(self, folder: Path) -> None:
        file = folder / "tokens.json"
        self.tokens = {name: add_token(file, name, (READ, WRITE), reader=name) for name in READERS}
        self.tokens["manages"] = add_token(file, "manages", (READ, "annotation:manage"))
        away = dict.fromkeys(("training_url", "extraction_url", "rendering_url"), AWAY)
        super().__init__(
            folder, labels_shown="after_list", tokens=Tokens(file), sign_in="password",
            public_origin="http://testserver", **away,
        )  # fmt: skip
        self.accounts = Accounts(self.ports.records, clock=self.clock)
        self.members_study = self.open_plan("plan-2", labels_shown="after_list")
        self.studies.change(self.members_study, ChangeStudyRequest(members=Members(names=["Ana"])))
        self.readings, self.protocols = Readings(self.ports), Protocols(self.ports)
        self.read = self._protocol("plan-3", "Ana", "Ben")
        self.other = self._protocol("plan-4", "Cleo")
        self.closed = self._protocol("plan-5", "Ben", "Cleo")
        self.protocols.close((self.closed, 1))
        label = SettleLabelRequest(answers=STRUCTURED | {"description": LABEL_MARK}, reason=LABEL_MARK)
        self.settled = self._answered_unit(self.closed)
        Labels(self.ports).settle((self.closed, 1), self.settled, self.readers.named("Dana"), label, True)
        for name in READERS:
            study = self.study_id if name != "Ana" else self.members_study
            self.responses.put(self.readers.named(name), (study, LAYER, 0), self._answer(name), 0, f"key-{name}")
        account = self.accounts.named(self._account("reader", Role.READER))
        assert account is not None
        self.account_id = account.account_id

    @cached_property
    def callers(self) -> list[Caller]:
        """Readers with tokens and in browsers, an account without any study, an owner of studies, and nobody."""
        nobody = Browser(self.app, follow_redirects=False)
        found = [Caller("nobody", nobody, {}, {}), Caller("nobody's browser", nobody, {}, {}, pages=True)]
        for name in ("Ana", "Ben"):
            bearer = {"authorization": f"Bearer {self.tokens[name]}"}
            found.append(Caller(name, nobody, bearer, {}, sees=(mark_of(name),)))
            browser = Browser(self.app, follow_redirects=False)
            browser.post("/sign-in", data={"name": name, "access_token": self.tokens[name]})
            form = {"csrf": csrf_of(browser)}
            found.append(Caller(f"{name}'s browser", browser, {}, form, sees=(mark_of(name),), pages=True))
        account = Browser(self.app, follow_redirects=False)
        account.post("/sign-in", data={"name": "reader", "password": "four words of theirs"})
        found.append(Caller("an account", account, {}, {"csrf": csrf_of(account)}, pages=True))
        owner = {"authorization": f"Bearer {self.tokens['manages']}"}
        return [*found, Caller("an owner", nobody, owner, {}, manages=True)]

    @cached_property
    def ids(self) -> dict[str, list[str]]:
        """Existing ids of each kind, by the name that they have in routes."""
        with self.ports.records.reading() as session:
            shams = select(ReadingRow.reading_id).join(
                ItemRow,
                (ItemRow.study_id == ReadingRow.study_id)
                & (ItemRow.version == ReadingRow.version)
                & (ItemRow.item == ReadingRow.item),
            )
            sham = session.scalars(shams.where(ItemRow.kind == "sham", ReadingRow.study_id == self.read)).first()
            repeats = select(ReadingRow.reading_id).where(ReadingRow.is_repeat, ReadingRow.study_id == self.read)
            repeat = session.scalars(repeats).first()
            items = select(ItemRow.item).where(ItemRow.study_id == self.read, ItemRow.kind == "sham")
            sham_item = session.scalars(items).first()
        open_ones = [(self.read, "Ana"), (self.read, "Ben"), (self.other, "Cleo")]
        own = [self._ids(*one)[0] for one in (*open_ones, (self.closed, "Ben"), (self.closed, "Cleo"))]
        return {
            "study_id": [self.study_id, self.members_study, self.read, self.other, self.closed],
            "version": ["1", "2"],
            "reading_id": [*own, str(sham), str(repeat)],
            "item": [str(self.settled), "0", str(sham_item)],
            "layer": [LAYER],
            "unit": ["0", "unit_0001", "5", "unit_0006"],
            "number": ["1", "17"],
            "rank": ["1", "65"],
            "plan_id": ["plan-1", "plan-2"],
            "account_id": [self.account_id],
            "format": ["csv", "jsonl"],
            "verb": ["enable", "replay"],
            "service": ["annotation", "training"],
        }

    def _account(self, name: str, role: Role) -> str:
        """Make an account and return its name."""
        form = {"token": self.accounts.invite(name, role).token, "password": "four words of theirs"}
        assert Browser(self.app, follow_redirects=False).post("/invitation", data=form).status_code == 303
        return name

    def _answered_unit(self, study_id: str) -> int:
        """A unit that a reader has answered under the protocol of a study."""
        same = (ItemRow.study_id == ReadingRow.study_id) & (ItemRow.item == ReadingRow.item)
        query = select(ItemRow.item).join(ReadingRow, same).where(ItemRow.study_id == study_id, ItemRow.kind == "unit")
        with self.ports.records.reading() as session:
            return session.scalars(query.where(ReadingRow.state == "answered").order_by(ItemRow.item)).first() or 0

    def _answer(self, name: str) -> Answer:
        return Answer("yes", "unsure", "single", mark_of(name))

    def _ids(self, study_id: str, name: str) -> list[str]:
        return [one.reading_id for one in self.readings.places(self.readers.named(name), (study_id, 1)).readings]

    def _protocol(self, plan_id: str, *readers: str) -> str:
        """Open a study and a protocol that reveals labels after the whole list. Each reader answers three readings,
        and keeps a draft of another."""
        study_id = self.open_plan(plan_id)
        document = {"readers_per_unit": len(readers), "shams": 2, "repeats": 2, "reveal": "after_list"}
        self.protocols.open(study_id, request(list(readers), **document))
        for name in readers:
            first, second, *others = self._ids(study_id, name)
            marked = STRUCTURED | {"description": mark_of(name)}
            self.readings.answer(self.readers.named(name), first, AnswerReadingRequest(answers=marked))
            self.readings.answer(self.readers.named(name), others[0], AnswerReadingRequest(answers=marked))
            self.readings.answer(self.readers.named(name), others[1], AnswerReadingRequest(answers=marked))
            self.readings.save_draft(self.readers.named(name), second, DraftReadingRequest(answers=marked))
        return study_id


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Crowd:
    return Crowd(tmp_path_factory.mktemp("crowd"))


def drawn_paths(crowd: Crowd, route: str, draw: random.Random) -> Iterator[str]:
    """Addresses of a route: each existing id of its first parameter with other existing ids, then drawn ones."""
    names = re.findall(r"{(\w+)}", route)
    existing = {name: crowd.ids.get(name, ["1"]) for name in names}
    for first in existing[names[0]] if names else [""]:
        values = {name: draw.choice(existing[name]) for name in names}
        yield filled(route, values | ({names[0]: first} if names else {}))
    for _ in range(CALLS_OF_A_ROUTE if names else 0):
        values = {name: draw.choice(existing[name]) for name in names}
        wrong = draw.choice(names)
        values[wrong] = draw.choice([*MALFORMED, UNKNOWN.get(wrong, "unknown-1")])
        yield filled(route, values)


def filled(route: str, values: dict[str, str]) -> str:
    """The address of a route with some ids, percent-encoded as clients send them."""
    return re.sub(r"{(\w+)}", lambda found: quote(values[found[1]], safe=""), route)


def sent(caller: Caller, method: str, path: str) -> Any:
    """The response to a call, with a valid body where an answer is saved."""
    fields: dict[str, Any] = {}
    if caller.pages and method != "GET":
        fields = {"data": FORM | caller.form}
    elif path.endswith(("/answer", "/draft")):
        fields = {"json": {"answers": STRUCTURED}}
    elif method in ("PUT", "PATCH"):
        fields = {"json": FORM if path.endswith("/response") else {}}
    elif method == "POST" and not path.endswith(ACTIONS):
        fields = {"json": {}}
    return caller.client.request(method, path, headers=caller.headers, **fields)


def faults_of(caller: Caller, method: str, path: str, response: Any) -> list[str]:
    """What is wrong with a response: a server error, the mark of another reader, or a label."""
    call, text = f"{caller.name}: {method} {path}: {response.status_code}", response.text
    found = [call] if response.status_code >= 500 and response.status_code != EXPECTED else []
    if caller.manages or response.headers.get("content-type", "").startswith("image/"):
        return found
    marks = {LABEL_MARK, *map(mark_of, READERS)} - set(caller.sees)
    found += [f"{call}: shows {mark}" for mark in sorted(marks) if mark in text]
    return found + [f"{call}: shows the label {label}" for label in set(LABELS.findall(text))]


def test_no_call_shows_anything_of_others(crowd: Crowd) -> None:
    """For any ids and any route: no server error, no answer of another reader, no label before its reveal."""
    draw, faults, calls = random.Random(15), [], 0
    for caller in crowd.callers:
        for route in sorted(routes_of(crowd.app.routes)):
            method, _, path = route.partition(" ")
            is_api = path.startswith("/v1/")
            if is_api == caller.pages or path in ("/sign-out", "/account/sessions/end"):
                continue
            for address in drawn_paths(crowd, path, draw):
                faults += faults_of(caller, method, address, sent(caller, method, address))
                calls += 1
    assert faults == []
    assert calls > 1000


def test_the_marks_are_seen_by_those_who_may(crowd: Crowd) -> None:
    """The search finds what is shown: readers see their own marks, and an owner all marks and labels."""
    ana, ben, owner = (next(one for one in crowd.callers if one.name == name) for name in ("Ana", "Ben", "an owner"))
    for caller, reading_id in zip((ana, ben), crowd.ids["reading_id"], strict=False):
        assert caller.sees[0] in sent(caller, "GET", f"/v1/readings/{reading_id}").text
    path = f"/v1/studies/{crowd.closed}/protocols/1/labels/{crowd.settled}"
    case, reader = sent(owner, "GET", path), Caller("a reader", owner.client, owner.headers, {})
    found = [fault.partition(": 200: ")[2] for fault in faults_of(reader, "GET", path, case)]
    assert {f"shows {LABEL_MARK}", 'shows the label "class_name":"'} <= set(found)
    assert {f"shows {mark_of('Ben')}", f"shows {mark_of('Cleo')}"} & set(found)
