"""Fixtures: the annotation service on a free port with two open studies, and a browser."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from services.annotation.main import create
from services.annotation.settings import AnnotationSettings
from services.annotation.workflow.studies import Studies
from services.common.bus import MemoryBus, encode
from services.common.errors import NotFound
from services.common.settings import Shared
from tests.e2e.browser import WIDE, FaultRecorder, chromium
from tests.fakes.rendering import store_rendering

LIMIT_S = 30.0


@dataclass(frozen=True)
class Site:
    """The address of the pages, and two studies: one withholds classes until the answer, one always shows them."""

    origin: str
    study_id: str
    open_study_id: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("home")
    with running(home) as (origin, studies, bus):
        rendering = store_rendering(_blobs_of(studies), size=128)
        bus.publish(encode(rendering.completed("plan-1", title="Withheld", labels_shown="after_answer")))
        bus.publish(encode(rendering.completed("plan-2", title="Shown", labels_shown="always")))
        yield Site(origin, _await_open(studies, "plan-1"), _await_open(studies, "plan-2"))


@contextmanager
def running(home: Path) -> Iterator[tuple[str, Studies, MemoryBus]]:
    """Run the service: its address, its studies and its bus."""
    bus = MemoryBus()
    settings = AnnotationSettings(http_port=0, grpc_port=0, shared=Shared(home=home))
    service = create(settings, bus)
    service.start()
    try:
        yield f"http://127.0.0.1:{service.http.port}", Studies(service.ports), bus
    finally:
        service.stop()
        bus.close()
        service.ports.records.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def new_page(browser: Browser, site: Site) -> Iterator[Callable[..., Page]]:
    """Creates pages, each in a browser context of its own. Fails at the end if any of them recorded a fault."""
    contexts: list[tuple[BrowserContext, FaultRecorder]] = []

    def new(expected: tuple[str, ...] = (), **options: Any) -> Page:
        context = browser.new_context(**({"viewport": WIDE, "base_url": site.origin} | options))
        contexts.append((context, FaultRecorder(context, site.origin, expected)))
        return context.new_page()

    yield new
    for context, recorder in contexts:
        context.close()
        assert recorder.faults == []


def sign_in(page: Page, name: str) -> None:
    """Sign in and wait for the home page."""
    page.goto("/sign-in")
    page.get_by_label("Your name").fill(name)
    page.locator("main").get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/")


def _blobs_of(studies: Studies) -> Any:
    return studies.ports.blobs


def _await_open(studies: Studies, plan_id: str) -> str:
    """Wait until the study of a plan is open, and return its id."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            [stage] = studies.plan(plan_id).stages
        except NotFound:
            stage = None
        if stage is not None and stage.state in ("completed", "failed"):
            assert stage.state == "completed", stage.error
            return stage.id
        time.sleep(0.05)
    raise AssertionError(f"the study of {plan_id} was not open after {LIMIT_S} s")
