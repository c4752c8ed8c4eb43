"""The status page."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.common.access.edge import Edge
from services.common.access.tokens import Tokens, add_token
from services.common.runtime.service import HttpServer
from tests.fakes.annotation import Annotation, Browser
from tests.unit.common.runtime.test_status import QUEUE, Watched

AWAY = "http://127.0.0.1:9"


@pytest.fixture
def training(tmp_path: Path) -> Iterator[str]:
    """The address of a training service with two queued runs."""
    watched = Watched(tmp_path / "training")
    watched.probe()
    server = HttpServer(watched.app, Edge("training"), 0)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


def test_the_page_shows_all_services(tmp_path: Path, training: str) -> None:
    """The page shows the status of each service. It names one that does not answer, and still shows the others."""
    world = Annotation(tmp_path, training_url=training, extraction_url=AWAY, rendering_url=AWAY)
    shown = world.browser("Researcher").get("/status").text
    assert '<th scope="row">run' in shown and QUEUE in shown and "oldest queued 2 h" in shown
    assert shown.count("The extraction service at") == shown.count("The rendering service at") == 1
    assert (shown.count("in order"), shown.count("needs attention")) == (1, 3), (
        "the monitor of this service has not probed yet"
    )
    assert Browser(world.app).get("/status", follow_redirects=False).status_code == 303


def test_the_status_is_not_for_readers(tmp_path: Path) -> None:
    """Counts and messages may contain what studies withhold: without the scope for units the page is 403 and no page
    links to it, and the call is 403 for a token that is bound to a reader."""
    file = tmp_path / "tokens.json"
    scopes = ("annotation:read", "annotation:write")
    reader = add_token(file, "reader", scopes, reader="Ana")
    program = add_token(file, "program", scopes)
    researcher = add_token(file, "researcher", ("*:read", "annotation:write"))
    world = Annotation(tmp_path, tokens=Tokens(file), training_url=AWAY, extraction_url=AWAY, rendering_url=AWAY)
    found = []
    for token in (reader, program, researcher):
        browser = Browser(world.app)
        assert browser.post("/sign-in", data={"name": "Ana", "access_token": token}).status_code == 200
        page = browser.get("/status")
        call = TestClient(world.app).get("/v1/status", headers={"authorization": f"Bearer {token}"})
        assert ('href="/status"' in browser.get("/").text) == (page.status_code == 200)
        assert ("does not answer: " in page.text, "not probed yet" in page.text) == (page.status_code == 200,) * 2
        found.append((page.status_code, call.status_code))
    assert found == [(403, 403), (403, 200), (200, 200)]
    assert TestClient(world.app).get("/v1/status").status_code == 401
