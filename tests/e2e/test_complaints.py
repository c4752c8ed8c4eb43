"""What users of other annotation tools complained of, in a real browser; docs/complaints.md names all tests."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from deploy.local.servers import free_port, free_ports
from services.common.bus import encode
from tests.chaos.test_writers import Killable
from tests.e2e.browser import WIDE
from tests.e2e.conftest import Site, _await_open, _blobs_of, running, sign_in
from tests.e2e.test_reading import begin, open_protocol, readings, type_answer
from tests.fakes.annotation import Annotation
from tests.fakes.certificates import Authority
from tests.fakes.rendering import store_rendering
from tests.fakes.serving import serving_http
from tests.fakes.tls_proxy import tls_proxy

OWN_WORDS = "In your own words (optional)"


@contextmanager
def context_of(browser: Browser, origin: str) -> Iterator[BrowserContext]:
    """A browser context for a site of a test's own. Its certificate need not be trusted."""
    context = browser.new_context(viewport=WIDE, base_url=origin, ignore_https_errors=True)
    try:
        yield context
    finally:
        context.close()


@pytest.fixture
def killable(tmp_path: Path) -> Iterator[tuple[Killable, Site]]:
    """The service as a process that a test can kill, with a protocol for a reader."""
    with running(tmp_path / "home") as (origin, studies, bus):
        bus.publish(encode(store_rendering(_blobs_of(studies), size=32).completed("plan-1", labels_shown="always")))
        study_id = _await_open(studies, "plan-1")
        open_protocol(Site(origin, study_id, study_id), ["Typist"])
    service = Killable(tmp_path, "", *free_ports(2))
    service.start()
    yield service, Site(service.url, study_id, study_id)
    service.kill()


def test_a_killed_tab_and_a_killed_server_lose_no_word(killable: tuple[Killable, Site], browser: Browser) -> None:
    """What the page called kept is on the service after a kill, for any browser of the reader. What was typed later is
    in the same browser after its tab is gone. What the page called saved is saved."""
    service, site = killable
    with context_of(browser, service.url) as context, context_of(browser, service.url) as other:
        page = context.new_page()
        sign_in(page, "Typist")
        page.get_by_role("link", name="Begin").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Item 1")
        page.wait_for_load_state("load")
        type_answer(page)
        page.get_by_label(OWN_WORDS).fill("first words")
        expect(page.locator("#draft-state")).to_have_text("Draft kept")
        service.kill()
        page.get_by_label(OWN_WORDS).fill("first words and more")
        expect(page.locator("#draft-state")).to_contain_text("kept in this browser")
        address = page.url
        page.close()
        service.start()
        elsewhere = other.new_page()
        sign_in(elsewhere, "Typist")
        elsewhere.goto(address)
        expect(elsewhere.get_by_label(OWN_WORDS)).to_have_value("first words")
        again = context.new_page()
        again.goto(address)
        expect(again.get_by_label(OWN_WORDS)).to_have_value("first words and more")
        again.get_by_role("button", name="Save", exact=True).click()
        expect(again.get_by_role("heading", level=1)).to_contain_text("Item 2")
        service.kill()
        service.start()
        saved = readings(site, "Typist")[0]["answer"]["answers"]
        assert saved["description"] == "first words and more" and "margin-spiculated" in saved["phenomena"]


def test_signing_in_behind_a_tls_proxy(tmp_path: Path, browser: Browser) -> None:
    """Behind a proxy that changes the Host, the refusal names the setting; with the setting, the reader signs in."""
    authority, port = Authority(tmp_path / "tls"), free_port()
    origin = f"https://localhost:{port}"
    for number, settings in enumerate(({}, {"public_origin": origin, "secure_cookies": True})):
        service = Annotation(tmp_path / str(number), **settings)
        with (
            serving_http(service.app) as target,
            tls_proxy(authority, target, port),
            context_of(browser, origin) as context,
        ):
            page = context.new_page()
            page.goto("/sign-in")
            page.get_by_label("Your name").fill("Ana")
            page.locator("main").get_by_role("button", name="Sign in").click()
            if settings:
                expect(page.get_by_role("link", name="My answers")).to_be_visible()
                [cookie] = context.cookies()
                assert cookie["secure"] and cookie["httpOnly"]
            else:
                expect(page.locator("body")).to_contain_text("PRIMITIVES_ANNOTATION_PUBLIC_ORIGIN")


def test_a_page_that_is_open_for_two_hours_loads_its_pictures(tmp_path: Path, browser: Browser) -> None:
    """Addresses of pictures do not expire: after two hours, pictures further down and mammograms load."""
    service = Annotation(tmp_path, rendering={"size": 128})
    with serving_http(service.app) as origin, context_of(browser, origin) as context:
        page = context.new_page()
        sign_in(page, "Ana")
        page.mouse.move(0, 0)
        page.goto(service.unit_path())
        service.clock_ahead += timedelta(hours=2)
        mammogram = page.locator(".picture").nth(61).get_attribute("data-mammogram-source") or ""
        assert "/mammograms/" in mammogram
        # From here on: pictures move under the pointer, and the one that it rests on may load the same mammogram.
        with page.expect_response(lambda response: response.url == origin + mammogram) as found:
            page.get_by_text("More pictures").click()
            page.locator(".picture").nth(60).scroll_into_view_if_needed()
            expect(page.locator(".picture img").nth(60)).to_have_js_property("naturalWidth", 128)
            page.locator(".picture").nth(61).focus()
        assert found.value.ok
        expect(page.locator("#window-text")).to_contain_text("16 bits")  # of this patch; the first one has 8


def test_saving_fetches_no_picture(site: Site, new_page: Callable[..., Page]) -> None:
    """The next item and its pictures were fetched while the reader judged this one: after Save, all pictures come from
    the browser's cache."""
    page = new_page()
    begin(page, site, "Fetched ahead")
    following = readings(site, "Fetched ahead")[1]["reading_id"]
    pictures = [f"{site.origin}/readings/{following}/pictures/{number}.jpg" for number in range(1, 17)]
    page.wait_for_function(
        "(wanted) => wanted.every((url) => performance.getEntriesByName(url).some((one) => one.responseEnd > 0))",
        arg=pictures,
    )
    type_answer(page)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Item 2")
    assert following in page.url
    page.wait_for_function("() => [...document.querySelectorAll('.picture img')].every((image) => image.complete)")
    sizes = page.evaluate(
        "(urls) => urls.map((url) => performance.getEntriesByName(url)[0]?.transferSize ?? -1)", pictures
    )
    assert set(sizes) == {0}


def test_addresses_of_pictures_carry_no_signature(site: Site, new_page: Callable[..., Page]) -> None:
    """No picture of a page has a query, a token or a time in its address, so none can expire."""
    page = new_page()
    begin(page, site, "Plain addresses")
    sources = page.locator("img[src]").evaluate_all("images => images.map((image) => image.getAttribute('src'))")
    assert sources and all(re.fullmatch(r"/readings/reading-[0-9a-f]+/pictures/[0-9]+\.jpg", one) for one in sources)
    assert httpx.get(f"{site.origin}{sources[0]}", timeout=30).status_code == 401
