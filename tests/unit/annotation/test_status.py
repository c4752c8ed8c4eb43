"""The page that shows how the services are."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.common.access.edge import Edge
from services.common.access.tokens import Tokens, add_token
from services.common.runtime.service import HttpServer
from tests.fakes.annotation import Annotation, Browser
from tests.unit.common.test_monitor import QUEUE, Watched

AWAY = "http://127.0.0.1:9"


@pytest.fixture
def training(tmp_path: Path) -> Iterator[str]:
    """Where a training service with two queued runs answers."""
    watched = Watched(tmp_path / "training")
    watched.look()
    server = HttpServer(watched.app, Edge("training"), 0)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


def test_services_stand_beside_each_other(tmp_path: Path, training: str) -> None:
    """What one says of itself is shown; one that does not answer is named, and the others are shown all the same."""
    world = Annotation(tmp_path, training_url=training, extraction_url=AWAY, rendering_url=AWAY)
    shown = world.browser("Researcher").get("/status").text
    assert '<th scope="row">run' in shown and QUEUE in shown and "oldest queued 2 h" in shown
    assert shown.count("The extraction service at") == shown.count("The rendering service at") == 1
    assert (shown.count("in order"), shown.count("look at this")) == (1, 3), (
        "the monitor of this one has not looked yet"
    )
    assert Browser(world.app).get("/status", follow_redirects=False).status_code == 303


def test_words_of_errors_are_for_those_who_may_see_units(tmp_path: Path) -> None:
    """They may hold what studies withhold: a reader of studies alone sees that something is away, and not what it
    said."""
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
    assert "not asked yet" in pages[1] and "not asked yet" not in pages[0]
    program = TestClient(world.app)
    assert program.get("/v1/status").status_code == 401
    told = program.get("/v1/status", headers={"authorization": f"Bearer {researcher}"}).json()
    assert told["service"] == "annotation"
