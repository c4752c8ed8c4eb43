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


def test_error_messages_are_shown_only_with_the_scope_for_units(tmp_path: Path) -> None:
    """Messages may contain what studies withhold: a session without the scope sees that a service fails, but not the
    message."""
    file = tmp_path / "tokens.json"
    reader = add_token(file, "reader", ("annotation:read", "annotation:write"))
    researcher = add_token(file, "researcher", ("*:read", "annotation:write"))
    world = Annotation(tmp_path, tokens=Tokens(file), training_url=AWAY, extraction_url=AWAY, rendering_url=AWAY)
    pages = []
    for token in (reader, researcher):
        browser = Browser(world.app)
        assert browser.post("/sign-in", data={"name": "Ana", "access_token": token}).status_code == 200
        pages.append(browser.get("/status").text)
    assert ("does not answer: " in pages[0], "does not answer: " in pages[1]) == (False, True)
    assert pages[0].count("It does not answer.") == 3
    assert "not probed yet" in pages[1] and "not probed yet" not in pages[0]
    program = TestClient(world.app)
    assert program.get("/v1/status").status_code == 401
    status = program.get("/v1/status", headers={"authorization": f"Bearer {researcher}"}).json()
    assert status["service"] == "annotation"
