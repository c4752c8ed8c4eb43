"""The unit browser with the real API of the extraction service, and a rendering service that records its requests."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response

from services.common.access.edge import Edge
from services.common.access.tokens import Tokens, add_token
from services.common.runtime.service import HttpServer
from tests.fakes.annotation import LAYER, Annotation, Browser
from tests.fakes.extraction import Extracted

BASE = "/extractions/extraction-1"
PATH = f"{BASE}/layers/{LAYER}"
PICTURE = f"/unit-pictures/extraction-1/{LAYER}/unit_0002/sample/3.webp"
SHEET = f"/unit-sheets/extraction-1/{LAYER}/unit_0002.webp"


class Browsed(Annotation):
    """The annotation service with an extraction of six units of the same layer as its study."""

    def __init__(self, folder: Path, tokens: Tokens | None = None) -> None:
        (folder / "extraction").mkdir()
        self.extracted = Extracted(folder / "extraction", LAYER)
        self.requests: list[dict[str, str]] = []
        self.servers = [HttpServer(app, Edge("test"), 0) for app in (self.extracted.app(), self._rendering())]
        for server in self.servers:
            server.start()
        extraction, rendering = (f"http://127.0.0.1:{server.port}" for server in self.servers)
        super().__init__(folder, tokens=tokens, extraction_url=extraction, rendering_url=rendering)

    def _rendering(self) -> FastAPI:
        app = FastAPI()

        @app.get("/v1/{path:path}")
        def picture(path: str, request: Request) -> Response:
            self.requests.append({"path": path, **request.query_params})
            headers = {"etag": '"a"', "cache-control": "private, max-age=9", "x-secret": "1"}
            known = request.headers.get("if-none-match") == '"a"'
            return Response(b"" if known else b"webp", 304 if known else 200, headers, "image/webp")

        return app

    def stop(self) -> None:
        """Stop the other services."""
        for server in self.servers:
            server.stop()


@pytest.fixture(scope="module")
def browsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browsed]:
    """For tests that change nothing."""
    browsed = Browsed(tmp_path_factory.mktemp("browsed"))
    yield browsed
    browsed.stop()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Browsed]:
    """For a test that saves answers and starts analyses."""
    fresh = Browsed(tmp_path)
    yield fresh
    fresh.stop()


def shown(browser: Browser, query: str = "") -> list[str]:
    """The units on a page of the browser, in order."""
    page = browser.get(f"{PATH}?{query}")
    assert page.status_code == 200, page.text
    return re.findall(r'<li id="(unit_\d{4})"', page.text)


def test_the_address_selects_and_sorts_units(browsed: Browsed) -> None:
    """The address sets sort, order and filters. The default is the layer's own ranking for the last class."""
    ana = browsed.browser("Ana")
    assert shown(ana) == ["unit_0002", "unit_0003", "unit_0004", "unit_0001", "unit_0005", "unit_0006"]
    assert shown(ana, "sort=auc&label=0&silent=no")[:2] == ["unit_0001", "unit_0002"]
    assert shown(ana, "sort=maximum&order=up&silent=&label=")[0] == "unit_0006"
    assert shown(ana, "search=unit_0003") == ["unit_0003"]
    assert shown(ana, "silent=yes") == ["unit_0006"]
    page = ana.get(f"{PATH}?silent=yes").text
    assert "no patch of this split activates the unit" in page
    assert "No unit matches" in ana.get(f"{PATH}?search=nothing").text


def test_answered_units_are_marked_and_filtered(fresh: Browsed) -> None:
    """Units that any reader has answered link to the study's overview, without the answers. A dissection is shown once
    it exists."""
    ana, ben = fresh.browser("Ana"), fresh.browser("Ben")
    ana.answer(fresh.unit_path(3), description="ANAS WORDS")
    assert shown(ben, "labelled=yes") == ["unit_0004"]
    assert shown(ben, "labelled=no&sort=unit") == ["unit_0001", "unit_0002", "unit_0003", "unit_0005", "unit_0006"]
    assert shown(ben, "labelled=yes&silent=yes") == []
    page = ben.get(f"{PATH}/units/unit_0004?labelled=no&sort=unit").text
    assert "not in this list" in page
    assert f"/studies/{fresh.study_id}/layers/{LAYER}?list=all#unit_0004" in page
    assert "ANAS WORDS" not in page
    around = ben.get(f"{PATH}/units/unit_0003?labelled=no&sort=unit").text
    assert "units/unit_0005?" in around[around.index("next-unit") :][:200]
    assert "3 of 5" in around
    fresh.extracted.analyse("dissection", 1, (LAYER,))
    page = ana.get(f"{PATH}/units/unit_0002").text
    assert "vessel" in page and "(0.300 to 0.500)" in page
    assert shown(ana, "sort=iou&search=mass") == ["unit_0003"]
    assert "detection-title" not in page
    fresh.extracted.analyse("detection", 2, (LAYER,))
    page = ana.get(f"{PATH}/units/unit_0001").text
    assert "by machine: mass AND NOT vessel" in page and "0.76 to 0.84" in page
    assert page.index("spiculated mass") < page.index(">refuted<")
    assert "no intervals" in ana.get(f"{PATH}/units/unit_0003").text
    assert "detection-title" not in ana.get(f"{PATH}/units/unit_0004").text


def test_a_unit_has_its_page(browsed: Browsed) -> None:
    """The page has pictures of the chosen kind, distribution, ranks, similar units and sample patches."""
    ana = browsed.browser("Ana")
    page = ana.get(f"{PATH}/units/unit_0003?kind=contour").text
    assert page.count("/top/") == 4 and page.count("/sample/") == 5
    assert page.count("kind=contour") > 9 and "kind=overlay" not in page
    assert "benign: median" not in page and "cancer: median 1," in page and "No patches of benign" in page
    assert "Near-duplicate of" in page and "units/unit_0004" in page
    assert "#2 <span" in page
    assert "Dissection" not in page
    assert "Silent:" in ana.get(f"{PATH}/units/unit_0006").text


def test_lists_link_to_units(browsed: Browsed) -> None:
    """The list of extractions links to each one, and that page links to its layers, with their figures."""
    ana = browsed.browser("Ana")
    assert f'href="{BASE}"' in ana.get("/extractions").text
    page = ana.get(BASE).text
    assert f'href="{PATH}"' in page
    assert "unit_0002" in page and "AUC 0.900" in page


def test_pictures_are_forwarded(browsed: Browsed) -> None:
    """Pictures keep the headers for caching and no others; a browser that has the picture gets 304. Only the fields of
    a query that say how to draw are passed on."""
    ana = browsed.browser("Ana")
    answer = ana.get(f"{PICTURE}?kind=crop&size=99&count=7&from=top&x=1")
    assert (answer.content, answer.headers["content-type"]) == (b"webp", "image/webp")
    assert (answer.headers["etag"], answer.headers["cache-control"]) == ('"a"', "private, max-age=9")
    assert answer.headers["vary"] == "cookie"
    assert "x-secret" not in answer.headers
    assert ana.get(PICTURE, headers={"if-none-match": '"a"'}).status_code == 304
    ana.get(f"{SHEET}?count=8&from=sample&x=1")
    units = f"extractions/extraction-1/layers/{LAYER}/units/1"
    assert browsed.requests[0] == {"path": f"{units}/pictures/3.webp", "kind": "crop", "size": "99", "from": "sample"}
    assert browsed.requests[-1] == {"path": f"{units}/sheet.webp", "count": "8"}


ERRORS = (
    ("/extractions/none", 404, "there is no extraction"),
    (f"{BASE}/layers/none", 404, "has no layer"),
    (f"{PATH}/units/unit_0007", 404, "has no unit_0007"),
    (f"{PATH}/units/seven", 404, "units are called"),
    (f"{PATH}?sort=ablation", 422, "no ranking"),
    (f"{PATH}?label=9", 422, "no class 9"),
    (f"{PATH}?label={'9' * 20}", 422, "does not accept"),
    ("/extractions/..%2f..", 404, "no such page"),
    ("/extractions/%2e%2e/layers/%2e%2e/units/unit_0001", 404, "There is no extraction"),
    (f"/unit-pictures/extraction-1/{LAYER}/unit_0002/other/3.webp", 422, "source"),
    (f"{PATH}?sort=size", 422, "does not accept"),
)


def test_errors_of_the_extraction_service_are_shown(browsed: Browsed) -> None:
    """The page has the message of the service and the matching status."""
    ana = browsed.browser("Ana")
    for path, status, message in ERRORS:
        answer = ana.get(path)
        assert (answer.status_code, message in answer.text) == (status, True), (path, answer.text)


def test_a_service_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """The answer is 503 with the name and address of the service."""
    alone = Annotation(tmp_path, extraction_url="http://127.0.0.1:9", rendering_url="http://127.0.0.1:9")
    ana = alone.browser("Ana")
    for path, name in (("/extractions", "extraction service"), (PICTURE, "rendering service")):
        answer = ana.get(path)
        assert (answer.status_code, f"The {name} at http://127.0.0.1:9" in answer.text) == (503, True)


def test_the_unit_browser_needs_its_scope(tmp_path: Path) -> None:
    """With a token that only allows reading studies, its pages are 403 and the home page has no link to it."""
    file = tmp_path / "tokens.json"
    scopes = ("annotation:read", "annotation:write")
    reader = add_token(file, "ana", scopes, reader="Ana")
    researcher = add_token(file, "researcher", (*scopes, "activation_extraction:read"))
    browsed = Browsed(tmp_path, Tokens(file))
    pages: list[Any] = ["/extractions", BASE, PATH, f"{PATH}/units/unit_0001", PICTURE, SHEET]
    for token, status, linked in ((reader, 403, False), (researcher, 200, True)):
        browser = Browser(browsed.app)
        assert browser.get(pages[0], follow_redirects=False).status_code == 303
        assert browser.post("/sign-in", data={"name": "Ana", "access_token": token}).status_code == 200
        assert [browser.get(page).status_code for page in pages] == [status] * len(pages)
        assert ('href="/extractions"' in browser.get("/").text) == linked
    browsed.stop()


def test_no_page_of_a_study_links_to_the_unit_browser(browsed: Browsed) -> None:
    """Pages of a study have no link; the unit browser says that it shows what the study withholds."""
    ana = browsed.browser("Ana")
    for path in (browsed.unit_path(), browsed.overview_path(), browsed.overview_path("list=ranked")):
        assert "/extractions" not in ana.get(path).text
    assert "where they are withheld until a unit or the whole list is answered" in ana.get(PATH).text
