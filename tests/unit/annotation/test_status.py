"""The status page."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from primitives.annotation.v1.events_pb2 import OpenStudy

from services.annotation.consumer import create_consumers
from services.annotation.workflow.webhooks import Webhooks
from services.common.access.edge import Edge
from services.common.access.tokens import Tokens, add_token
from services.common.bus import encode
from services.common.runtime.service import HttpServer
from services.common.runtime.status import Monitor, add_status_routes
from services.common.work.parked import ParkedMessages
from tests.fakes.annotation import Annotation, Browser
from tests.fakes.serving import serving_http
from tests.unit.common.http.test_parked import QUEUE as QUEUE_OF_EXAMPLE
from tests.unit.common.http.test_parked import Example
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


class Siblings:
    """A training service with the censuses of the tests of parked messages, and tokens for it."""

    def __init__(self, folder: Path, scopes: tuple[str, ...]) -> None:
        self.file = folder / "tokens.json"
        self.token = add_token(self.file, "annotation-service", scopes)
        self.operator = add_token(self.file, "operator", ("*:read", "*:write"))
        self.researcher = add_token(self.file, "researcher", ("*:read", "annotation:write"))
        self.reader = add_token(self.file, "reader", ("*:read", "*:write"), reader="Ana")
        self.example = Example(folder / "training", Tokens(self.file))
        monitor = Monitor("training", self.example.ports, {}, [QUEUE_OF_EXAMPLE])
        for probe in monitor._probes:
            probe.probe()
        self.monitor = monitor
        add_status_routes(self.example.app, monitor)

    def park(self) -> str:
        """Park a message at the training service; return its id."""
        path = f"/v1/censuses/{self.example.censuses.start(self.example.dataset).census_id}"
        self.example.deliver()
        for probe in self.monitor._probes:
            probe.probe()
        assert path
        return self.example.bus.parked(QUEUE_OF_EXAMPLE)[-1].envelope.id


@contextmanager
def world_with(siblings: Siblings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Annotation]:
    """The annotation service next to that training service; the two others are away."""
    monkeypatch.setenv("PRIMITIVES_TOKEN", siblings.token)
    with serving_http(siblings.example.app, Edge("training", tokens=Tokens(siblings.file))) as url:
        yield Annotation(
            folder / "own", tokens=Tokens(siblings.file), training_url=url, extraction_url=AWAY, rendering_url=AWAY
        )


def signed_in(world: Annotation, token: str) -> Browser:
    """A browser that is signed in with an access token."""
    browser = Browser(world.app)
    assert browser.post("/sign-in", data={"name": "Ana", "access_token": token}).status_code == 200
    return browser


def csrf_of(page: str) -> str:
    """The CSRF token of a page's forms."""
    return page.partition('name="csrf" value="')[2].partition('"')[0]


def test_parked_messages_are_shown_and_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page shows the messages of a sibling with their reasons. A replay shows what happens, and the message is
    gone; a message that is not parked any more is reported as not found."""
    siblings = Siblings(tmp_path, ("*:read", "training:write"))
    message_id = siblings.park()
    with world_with(siblings, tmp_path, monkeypatch) as world:
        browser = signed_in(world, siblings.operator)
        page = browser.get("/status").text
        assert "CountPatches" in page and "patch 5 is not a complete image" in page and ">Replay<" in page
        path = f"/status/training/parked/{message_id}/replay"
        assert browser.post(path, data={"csrf": "wrong"}).status_code == 403
        done = browser.post(path, data={"csrf": csrf_of(page)})
        assert done.status_code == 200 and "is queued again with all work that is not done" in done.text
        assert siblings.example.bus.parked(QUEUE_OF_EXAMPLE) == []
        assert browser.post(path, data={"csrf": csrf_of(page)}).status_code == 404
        assert browser.post("/status/nothing/parked/x/replay", data={"csrf": csrf_of(page)}).status_code == 404


def test_only_operators_replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The access token of the session must allow writing at the service, and belong to no reader. One that reads sees
    the message but no button, a reader sees neither, and their forms are refused."""
    siblings = Siblings(tmp_path, ("*:read", "training:write"))
    message_id = siblings.park()
    with world_with(siblings, tmp_path, monkeypatch) as world:
        for token, reads in ((siblings.researcher, True), (siblings.reader, False)):
            browser = signed_in(world, token)
            page = browser.get("/status").text
            assert ("CountPatches" in page, ">Replay<" in page) == (reads, False)
            refused = browser.post(f"/status/training/parked/{message_id}/replay", data={"csrf": csrf_of(page)})
            assert refused.status_code == 403 and "training:write" in refused.text
    assert len(siblings.example.bus.parked(QUEUE_OF_EXAMPLE)) == 1


def test_the_page_needs_a_token_that_may_write_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the annotation service's own token only reads, the page names the missing scope, and nothing is replayed."""
    siblings = Siblings(tmp_path, ("*:read",))
    message_id = siblings.park()
    with world_with(siblings, tmp_path, monkeypatch) as world:
        browser = signed_in(world, siblings.operator)
        csrf = csrf_of(browser.get("/status").text)
        refused = browser.post(f"/status/training/parked/{message_id}/discard", data={"csrf": csrf})
        assert (refused.status_code, "training:write" in refused.text) == (403, True)
    assert len(siblings.example.bus.parked(QUEUE_OF_EXAMPLE)) == 1


def test_own_messages_are_replayed(tmp_path: Path) -> None:
    """The annotation service replays its own parked messages. Readers without the scope for units see none of them."""
    world = Annotation(tmp_path, training_url=AWAY, extraction_url=AWAY, rendering_url=AWAY)
    envelope = encode(OpenStudy(study_id="study-x"))
    world.bus.park("annotation.jobs", envelope, "planted")
    parked = ParkedMessages(world.bus, create_consumers(world.bus, world.studies, Webhooks(world.ports, None), 1))
    assert [one.reason for one in parked.all().messages] == ["planted"]
    browser = world.browser("Researcher")
    csrf = csrf_of(browser.get("/status").text)
    path = f"/status/annotation/parked/{envelope.id}"
    refused = browser.post(f"{path}/replay", data={"csrf": csrf})
    assert (refused.status_code, "has no effect; discard it" in refused.text) == (409, True)
    assert "The message is removed." in browser.post(f"{path}/discard", data={"csrf": csrf}).text
    assert parked.all().messages == []
