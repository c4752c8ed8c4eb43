"""Lists of studies and answers: their pages, and a number of SQL statements that does not depend on their length."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from primitives.annotation.v1 import annotation_pb2 as pb

from bench.lists import Sizes, fill
from bench.statements import recorded_statements
from services.annotation.main import create_web
from services.annotation.pages import home
from services.annotation.rpc import AnnotationServicer
from services.annotation.schemas import SummaryQuery
from services.annotation.settings import AnnotationSettings
from services.annotation.tables import Base, ReaderRow
from services.annotation.workflow.readers import Readers
from services.annotation.workflow.responses import Responses
from services.annotation.workflow.studies import Studies
from services.annotation.workflow.units import Units
from services.common.paging import Window
from services.common.records import now
from tests.fakes.annotation import Annotation, Browser
from tests.fakes.ports import World
from tests.fakes.serving import serving_http

SIZES = Sizes(studies=3, layers=2, units=8, answers=24, readers=2, rounds=1)
"""Each reader answers two units of each layer."""
ANA = {"x-reader": "Reader 1"}


class Filled(World):
    """The annotation service with some studies and answers."""

    def __init__(self, folder: Path, sizes: Sizes = SIZES) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder, Base.metadata)
        fill(self.ports.records, sizes)
        self.studies, self.responses = Studies(self.ports), Responses(self.ports)
        self.readers, self.units = Readers(self.ports.records), Units(self.ports)
        begin = now()
        self.app = create_web(AnnotationSettings(), self.ports, clock=lambda: begin)
        self.program = TestClient(self.app, headers=ANA)

    def browser(self) -> Browser:
        """The browser of Reader 1."""
        browser = Browser(self.app)
        assert browser.post("/sign-in", data={"name": "Reader 1"}).status_code == 200
        return browser


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    return Filled(tmp_path)


class Metadata:
    """The context of a gRPC call of Reader 1."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("reader", "Reader 1"),)


def calls(world: Filled) -> dict[str, Any]:
    """Every call and page that reads a list, by name."""
    browser, context = world.browser(), Metadata()
    rpc: Any = AnnotationServicer(world.readers, world.studies, world.units, world.responses)
    paths = ("/v1/studies", "/v1/studies/study-0", "/v1/summary", "/v1/summary?study_id=study-0", "/v1/responses",
             "/", "/answers", "/summary", "/studies/study-0/layers/layer0")  # fmt: skip
    return {
        **{path: lambda path=path: browser.get(path, headers=ANA).raise_for_status() for path in paths},
        "ListStudies": lambda: rpc.ListStudies(pb.ListStudiesRequest(), context),
        "GetSummary": lambda: rpc.GetSummary(pb.GetSummaryRequest(), context),
        "ListResponses": lambda: rpc.ListResponses(pb.ListResponsesRequest(), context),
    }


def counted(world: Filled) -> dict[str, int]:
    """The number of SQL statements of every call."""
    numbers = {}
    for name, call in calls(world).items():
        with recorded_statements(world.ports.records.engine) as statements:
            call()
        numbers[name] = len(statements)
    return numbers


def test_statements_do_not_depend_on_the_length(tmp_path: Path) -> None:
    """With 30 studies of 4 layers and 480 answers, every call and page takes as many SQL statements as with 3 studies
    of 2 layers and 24 answers."""
    few = counted(Filled(tmp_path / "few"))
    many = counted(Filled(tmp_path / "many", replace(SIZES, studies=30, layers=4, answers=480)))
    assert few == many


def test_studies_are_read_page_by_page(filled: Filled) -> None:
    """A page has the newest studies with their layers and the reader's progress. A call without parameters returns up
    to 100; a larger limit than 500 is refused."""
    first = filled.program.get("/v1/studies", params={"limit": 2}).json()
    last = filled.program.get("/v1/studies", params={"limit": 2, "offset": 2}).json()
    assert [study["study_id"] for study in first["studies"] + last["studies"]] == ["study-2", "study-1", "study-0"]
    assert (first["total"], first["next_offset"], last["total"], last["next_offset"]) == (3, 2, 3, None)
    for study in first["studies"] + last["studies"]:
        assert [layer["name"] for layer in study["layers"]] == ["layer0", "layer1"]
        for layer in study["layers"]:
            assert [layer[name]["answered"] for name in ("all", "subset", "ranked")] == [2, 1, 2]
    everything = filled.program.get("/v1/studies").json()
    assert (len(everything["studies"]), everything["next_offset"]) == (3, None)
    assert filled.program.get("/v1/studies", params={"limit": 501}).status_code == 422


def test_studies_are_read_page_by_page_over_grpc(filled: Filled) -> None:
    """A request without fields returns the first page; one above the limit is refused."""
    rpc: Any = AnnotationServicer(filled.readers, filled.studies, filled.units, filled.responses)
    page = rpc.ListStudies(pb.ListStudiesRequest(offset=1, limit=1), Metadata())
    assert ([study.study_id for study in page.studies], page.total, page.next_offset) == (["study-1"], 3, 2)
    everything = rpc.ListStudies(pb.ListStudiesRequest(), Metadata())
    assert (len(everything.studies), everything.HasField("next_offset")) == (3, False)
    summary = rpc.GetSummary(pb.GetSummaryRequest(study_id="study-1", limit=3), Metadata())
    assert [(one.name, len(one.answered), one.total) for one in summary.readers] == [("Reader 1", 3, 4)]
    assert (summary.total, summary.next_offset) == (8, 3)


@pytest.mark.parametrize("limit", [1, 2, 5, 7, 24, 1000])
def test_pages_of_a_summary_cover_it_once(filled: Filled, limit: int) -> None:
    """All pages together name every answered unit once, by reader, study, layer and unit, and readers without an answer
    once; each reader has the total of all pages."""
    with filled.ports.records.transaction() as session:
        for number, name in enumerate(("A first one", "Reader 1 b", "Zoë")):
            session.add(ReaderRow(reader_id=f"more-{number}", name=name, name_key=name.casefold()))
    whole = filled.responses.summary()
    assert [(one.name, len(one.answered), one.total) for one in whole.readers] == [
        ("A first one", 0, 0), ("Reader 1", 12, 12), ("Reader 1 b", 0, 0), ("Reader 2", 12, 12), ("Zoë", 0, 0),
    ]  # fmt: skip
    answers = [(place.study_id, place.layer, place.unit) for place in whole.readers[1].answered]
    assert answers == sorted(answers)
    seen: dict[str, list[Any]] = {}
    offset: int | None = 0
    while offset is not None:
        page = filled.responses.summary(window=Window.model_construct(offset=offset, limit=limit))
        assert sum(max(len(one.answered), 1) for one in page.readers) <= limit
        assert page.total == 27
        for one in page.readers:
            seen.setdefault(one.name, []).extend(one.answered)
            assert one.total == whole.readers[list(seen).index(one.name)].total
        offset = page.next_offset
    assert seen == {one.name: one.answered for one in whole.readers}


def test_the_limits_of_a_summary(filled: Filled) -> None:
    """A call without parameters returns up to 1,000 units; more than 10,000 are refused."""
    assert SummaryQuery().limit == 1000
    assert filled.program.get("/v1/summary", params={"limit": 10_000}).status_code == 200
    assert filled.program.get("/v1/summary", params={"limit": 10_001}).status_code == 422


def pager(page: str) -> tuple[str, list[tuple[str, str]]]:
    """The name of a page's navigation between pages, and its links: relation and address."""
    [(name, links)] = re.findall(r'<nav class="pager" aria-label="([^"]*)">(.*?)</nav>', page, flags=re.DOTALL)
    return name, re.findall(r'<a class="button" rel="(\w+)" href="([^"]*)">', links)


def test_home_has_pages_of_studies(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page has its studies, newest first, and plain links to the pages around it. An invalid number opens the
    first page; a number beyond the last has a link back."""
    monkeypatch.setattr(home, "STUDIES_A_PAGE", 1)
    browser = filled.browser()
    pages = [browser.get(f"/?page={number}").text for number in (1, 2, 3)]
    assert [re.findall(r'<h2 id="study-1">(.*?)</h2>', page) for page in pages] == [
        ["Study 2"], ["Study 1"], ["Study 0"],
    ]  # fmt: skip
    assert [pager(page) for page in pages] == [
        ("Pages of studies", [("next", "/?page=2")]),
        ("Pages of studies", [("prev", "/?page=1"), ("next", "/?page=3")]),
        ("Pages of studies", [("prev", "/?page=2")]),
    ]
    assert browser.get("/?page=x").text == browser.get("/").text
    beyond = browser.get("/?page=999999").text
    assert pager(beyond) == ("Pages of studies", [("prev", "/?page=3")])
    assert "Nothing to read yet" not in beyond


def test_home_has_no_page_links_for_few_studies(filled: Filled) -> None:
    """Up to 20 studies are on one page, which has no links between pages."""
    assert 'class="pager"' not in filled.browser().get("/").text


def test_home_lists_the_latest_answers(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """The home page has the reader's newest answers and, if there are more, a link to all of them."""
    browser = filled.browser()
    page = browser.get("/").text
    assert len(re.findall(r'<li><a href="/studies/[^"]*/units/', page)) == 12
    assert "Show all my answers" not in page
    monkeypatch.setattr(home, "LATEST_ANSWERS", 3)
    page = browser.get("/").text
    units = re.findall(r'<li><a href="/studies/(study-\d)/layers/(layer\d)/units/(unit_\d+)', page)
    assert units == [("study-1", "layer1", "unit_0002"), ("study-2", "layer0", "unit_0002"),
                     ("study-2", "layer1", "unit_0002")]  # fmt: skip
    assert 'The latest 3. <a href="/answers">Show all my answers</a>' in page


def test_the_summary_has_pages(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of the summary has a part of the answered units, with the totals of their readers and layers."""
    monkeypatch.setattr(home, "ANSWERED_A_PAGE", 13)
    browser = filled.browser()
    first, second = browser.get("/summary").text, browser.get("/summary?page=2").text
    units = [re.findall(r'<li><a href="/studies/[^"]*/units/', page) for page in (first, second)]
    assert [len(found) for found in units] == [13, 11]
    assert [re.findall(r'<span class="name">(.*?)</span>', page) for page in (first, second)] == [
        ["Reader 1", "Reader 2"], ["Reader 2"],
    ]  # fmt: skip
    assert "12 units" in second
    assert second.count("2 of 8") == 6
    assert pager(first) == ("Pages of the summary", [("next", "/summary?page=2")])
    assert pager(second) == ("Pages of the summary", [("prev", "/summary?page=1")])


@pytest.mark.parametrize(("path", "field", "on_a_page"), [("/runs", "runs", 50), ("/extractions", "extractions", 100)])
def test_lists_of_other_services_have_pages(path: str, field: str, on_a_page: int, tmp_path: Path) -> None:
    """The pages of runs and of extractions request one page of the list from its service, and link to the others."""
    requests: list[dict[str, str]] = []
    other = FastAPI()

    @other.get(f"/v1{path}")
    def page(request: Request) -> dict[str, Any]:
        requests.append(dict(request.query_params))
        item = {"run_id": "run-7", "extraction_id": "extraction-7", "state": "completed"}
        return {field: [item], "total": 250, "next_offset": 200}

    with serving_http(other) as url:
        browser = Annotation(tmp_path, training_url=url, extraction_url=url).browser("Ana")
        shown = browser.get(f"{path}?page=2").text
    assert requests == [{"offset": str(on_a_page), "limit": str(on_a_page)}]
    assert f"{field[:-1]}-7" in shown
    assert '<span class="facts">250</span>' in shown
    assert pager(shown) == (f"Pages of {field}", [("prev", f"{path}?page=1"), ("next", f"{path}?page=3")])


def test_answers_of_many_layers_have_their_pictures(filled: Filled) -> None:
    """thumbs reads the units of several studies and layers, and no others."""
    reader = filled.readers.named("Reader 1")
    keys = [("study-0", "layer0", 1), ("study-0", "layer1", 3), ("study-2", "layer0", 1), ("study-2", "layer0", 5)]
    assert sorted(filled.units.thumbs(reader, keys)) == keys
    assert filled.units.thumbs(reader, []) == {}
