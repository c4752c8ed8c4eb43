"""A test plays a reader who collects every class that the service shows, and counts what the reader knows before each
answer."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from primitives.annotation.v1 import events_pb2
from sqlalchemy import select

from services.annotation.schemas import ChangeStudyRequest
from services.annotation.tables import ResponseLogRow
from services.common.access.tokens import Tokens, add_token
from tests.fakes.annotation import FORM, Annotation, Browser
from tests.fakes.rendering import CLASSES
from tests.unit.annotation.test_blinding import assert_blind, shown_signs

SHARED = {"layers": (("block4", 8), ("block6", 6)), "pictures": 16, "patches": 48}
"""Two small layers whose units share 48 patches, of which each has 16."""
BITS = math.log2(len(CLASSES))
"""The bits of the class of one patch."""

Patch = tuple[int, int, int]
"""The mammogram and the position of a patch: a reader sees both before the answer, and so recognizes the patch."""
Unit = tuple[str, int]


class ReaderAtWork:
    """A reader with a token of its own, who reads all that the API and the pages have, again before each answer."""

    def __init__(self, annotation: Annotation, token: str) -> None:
        self.annotation, self.token = annotation, token
        self.client = TestClient(annotation.app, headers={"authorization": f"Bearer {token}"})
        self.browser = Browser(annotation.app)
        assert self.browser.post("/sign-in", data={"name": "Ana", "access_token": token}).status_code == 200
        self.known: dict[Patch, str] = {}
        self.statistics: list[Any] = []

    def get(self, path: str) -> Any:
        """The JSON at a path below the study."""
        answer = self.client.get(f"/v1/studies/{self.annotation.study_id}{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def reading_list(self) -> list[Unit]:
        """The units of the subset of each layer."""
        layers = [layer["name"] for layer in self.get("")["layers"]]
        return [
            (layer, unit["unit"])
            for layer in layers
            for unit in self.get(f"/layers/{layer}/units?list=subset&limit=200")["units"]
        ]

    def all_units(self) -> list[Unit]:
        """All units that can be answered."""
        layers = [layer["name"] for layer in self.get("")["layers"]]
        units = [(layer, unit) for layer in layers for unit in self.get(f"/layers/{layer}/units?limit=200")["units"]]
        return [(layer, unit["unit"]) for layer, unit in units if not unit["silent"]]

    def collect(self) -> None:
        """Read every list and every unit; keep the classes, ranks, scores and counts that are shown."""
        for layer in self.get("")["layers"]:
            for query in ("list=all", "list=subset", "list=ranked", "list=ranked&label=0", "filter=answered"):
                part = self.get(f"/layers/{layer['name']}/units?{query}&limit=200")
                for unit in part["units"]:
                    self._keep(unit["pictures"])
                    self.statistics += [
                        unit[name] for name in ("label", "rank", "score", "count") if unit[name] is not None
                    ]
        for layer, unit in self.all_units():
            view = self.get(f"/layers/{layer}/units/{unit}")
            self._keep(view["pictures"])
            self.statistics += view["ranks"]

    def _keep(self, pictures: list[dict[str, Any]]) -> None:
        for picture in pictures:
            if picture["class_name"] is not None:
                self.known[self.place_of(picture)] = picture["class_name"]

    def place_of(self, picture: dict[str, Any]) -> Patch:
        """How the reader recognizes the patch of a picture."""
        return picture["mammogram"], picture["row"], picture["column"]

    def bits_known(self, unit: Unit) -> float:
        """The bits of the classes of a unit's patches that the reader knows."""
        pictures = self.get(f"/layers/{unit[0]}/units/{unit[1]}")["pictures"]
        return BITS * sum(self.place_of(picture) in self.known for picture in pictures)

    def pages_of(self, unit: Unit) -> list[str]:
        """The survey of a unit and the ranked list of its layer, as the browser has them."""
        layer = f"/studies/{self.annotation.study_id}/layers/{unit[0]}"
        paths = (f"{layer}/units/unit_{unit[1] + 1:04d}?list=subset", f"{layer}?list=ranked")
        pages = [self.browser.get(path) for path in paths]
        assert [page.status_code for page in pages] == [200, 200]
        return [page.text for page in pages]

    def answer(self, unit: Unit, version: int = 0) -> dict[str, Any]:
        """Save an answer to a unit."""
        path = f"/v1/studies/{self.annotation.study_id}/layers/{unit[0]}/units/{unit[1]}/response"
        saved = self.client.put(path, json={**FORM, "base_version": version, "description": f"Version {version + 1}."})
        assert saved.status_code == 200, saved.text
        return saved.json()  # type: ignore[no-any-return]


@pytest.fixture
def reader(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ReaderAtWork]:
    """A reader of a study in the mode of the parameter."""
    file = tmp_path / "tokens.json"
    token = add_token(file, "ana", ("annotation:read", "annotation:write"), reader="Ana")
    mode = {} if request.param == "default" else {"labels_shown": request.param}
    annotation = Annotation(tmp_path, tokens=Tokens(file), rendering=SHARED, **mode)
    if request.param == "default":
        annotation.study_id = annotation.open_plan("plan-2")
    return ReaderAtWork(annotation, token)


@pytest.mark.parametrize("reader", ["after_list", "default"], indirect=True)
def test_nothing_is_known_before_the_whole_list_is_answered(reader: ReaderAtWork) -> None:
    """In the mode after_list, which new studies have, the reader knows 0 bits of the classes of each unit of the list
    before its answer, and sees no rank, score or count. Then all labels are shown."""
    units = reader.reading_list()
    assert {layer for layer, _ in units} == {"block4", "block6"}
    known = []
    for unit in units:
        reader.collect()
        known.append(reader.bits_known(unit))
        for page in reader.pages_of(unit):
            assert_blind(page)
            assert (shown_signs(page), "AUC" in page, "among the top" in page) == (0, False, False)
        assert reader.answer(unit)["after_reveal"] is False
    assert (sum(known), reader.statistics) == (0, [])
    reader.collect()
    assert [reader.bits_known(unit) for unit in reader.all_units()] == [pytest.approx(16 * BITS)] * 13
    assert [shown_signs(page) for page in reader.pages_of(units[0])] == [16, 8 * 7]
    assert reader.statistics


@pytest.mark.parametrize("reader", ["after_answer"], indirect=True)
def test_labels_after_each_answer_reveal_other_units(reader: ReaderAtWork) -> None:
    """The mode after_answer does not promise blind answers: units share patches, so that most classes of the last units
    are known before they are answered. Ranks, scores and counts of units without an answer are withheld here too."""
    known = []
    for unit in reader.all_units():
        reader.collect()
        known.append(reader.bits_known(unit))
        reader.answer(unit)
    assert known[0] == 0
    assert known[-1] > 8 * BITS
    assert "41 to 56%" in reader.get("")["labels_cost"]
    assert not [one for one in reader.statistics if not isinstance(one, dict)]


@pytest.mark.parametrize("reader", ["always"], indirect=True)
def test_labels_that_are_always_shown_are_known(reader: ReaderAtWork) -> None:
    """The mode always promises nothing, and each answer is marked."""
    reader.collect()
    unit = reader.reading_list()[0]
    assert reader.bits_known(unit) == pytest.approx(16 * BITS)
    assert reader.answer(unit)["after_reveal"] is True


@pytest.mark.parametrize("reader", ["after_list"], indirect=True)
def test_an_answer_that_is_changed_after_the_reveal_is_marked(reader: ReaderAtWork) -> None:
    """A change before the reveal is not marked. After it, a change and an answer to a unit outside of the list are: in
    the response, in the reader's answers, on the pages, in the event and in the log, which keeps the blind answer."""
    listed = reader.reading_list()
    outside = next(unit for unit in reader.all_units() if unit not in listed)
    for unit in listed:
        reader.answer(unit)
    changed, untouched = listed[0], listed[1]
    marks = [reader.answer(changed, 1)["after_reveal"], reader.answer(outside)["after_reveal"]]
    assert marks == [True, True]
    own = {
        (one["layer"], one["unit"]): one["after_reveal"]
        for one in reader.client.get("/v1/responses").json()["responses"]
    }
    assert {unit for unit, marked in own.items() if marked} == {changed, outside}
    assert reader.get(f"/layers/{changed[0]}/units/{changed[1]}")["response"]["after_reveal"] is True
    assert "after the classes were shown" in reader.pages_of(changed)[0]
    assert "after the classes were shown" not in reader.pages_of(untouched)[0]
    assert reader.browser.get("/answers").text.count("after the classes were shown") == 2
    events = [event for event in reader.annotation.sent() if isinstance(event, events_pb2.ResponseGiven)]
    assert [event.after_reveal for event in events] == [False] * len(listed) + [True, True]
    with reader.annotation.ports.records.reading() as session:
        log = session.scalars(select(ResponseLogRow).order_by(ResponseLogRow.position)).all()
        versions = [(row.version, row.after_reveal, row.description) for row in log if (row.layer, row.unit) == changed]
    assert versions == [(1, False, "Version 1."), (2, True, "Version 2.")]


@pytest.mark.parametrize("reader", ["after_list"], indirect=True)
def test_a_change_before_the_reveal_is_blind(reader: ReaderAtWork) -> None:
    """A reader may go back and correct an answer while nothing is shown."""
    unit = reader.reading_list()[0]
    reader.answer(unit)
    assert reader.answer(unit, 1)["after_reveal"] is False


@pytest.mark.parametrize("reader", ["after_list"], indirect=True)
def test_what_a_reader_has_seen_is_not_withheld_again(reader: ReaderAtWork) -> None:
    """An owner who shows labels after each answer from now on takes nothing back from a reader who has completed the
    list: units outside of the list stay revealed, and answers to them are marked."""
    listed = reader.reading_list()
    outside = next(unit for unit in reader.all_units() if unit not in listed)
    for unit in listed:
        reader.answer(unit)
    reader.annotation.studies.change(reader.annotation.study_id, ChangeStudyRequest(labels_shown="after_answer"))
    assert reader.get(f"/layers/{outside[0]}/units/{outside[1]}")["revealed"] is True
    assert reader.answer(outside)["after_reveal"] is True
