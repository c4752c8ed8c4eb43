"""Reading under a protocol in a real browser: by keyboard alone, without losing a word, and without looking ahead."""

from collections.abc import Callable
from typing import Any

import httpx
from playwright.sync_api import Page, expect

from tests.e2e.accessibility import faults_of
from tests.e2e.browser import WIDE, outside_window
from tests.e2e.conftest import Site, sign_in

NewPage = Callable[..., Page]


def open_protocol(site: Site, readers: list[str], **document: Any) -> dict[str, Any]:
    """Open a protocol of the second study, in which classes may be shown."""
    fields = {"title": "Browser", "units": {"choose": "named", "units": {"block4": [0, 1, 2]}}, "seed": 1}
    body = {"document": fields | {"readers_per_unit": 1} | document, "readers": readers}
    answer = httpx.post(f"{site.origin}/v1/studies/{site.open_study_id}/protocols", json=body, timeout=30)
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def readings(site: Site, reader: str) -> list[dict[str, Any]]:
    """The readings of a reader's newest list, as the API shows them."""
    headers = {"x-reader": reader}
    with httpx.Client(base_url=site.origin, headers=headers, timeout=30) as client:
        newest = client.get("/v1/reading-lists").json()["lists"][0]
        places = client.get(f"/v1/reading-lists/{newest['study_id']}/{newest['version']}/readings").json()["readings"]
        return [client.get(f"/v1/readings/{place['reading_id']}").json() for place in places]


def begin(page: Page, site: Site, reader: str, **document: Any) -> None:
    """Open a protocol for one reader, sign in, and open the first reading."""
    open_protocol(site, [reader], **document)
    sign_in(page, reader)
    page.get_by_role("link", name="Begin").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Item 1")
    page.wait_for_load_state("load")


def type_answer(page: Page) -> None:
    """Answer all questions of the structured form by keyboard alone."""
    page.keyboard.press("1")  # recognizable
    page.keyboard.press("2")  # several; the search for terms has the focus then
    page.keyboard.type("spicul")
    page.keyboard.press("Enter")
    page.keyboard.type("irregular")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.keyboard.press("3")  # associated: unsure
    page.keyboard.press("4")  # certain


def test_a_whole_list_is_read_by_keyboard_alone(site: Site, new_page: NewPage) -> None:
    """From signing in to the thanks at the end, nothing needs a mouse, and the answers are the typed ones."""
    page = new_page()
    open_protocol(site, ["Keys"])
    page.goto("/sign-in")
    expect(page.get_by_label("Your name")).to_be_focused()
    page.keyboard.type("Keys")
    page.keyboard.press("Enter")
    page.wait_for_url("**/")
    for _ in range(30):
        if page.evaluate("document.activeElement.textContent") == "Begin":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    for number in (1, 2, 3):
        expect(page.get_by_role("heading", level=1)).to_contain_text(f"Item {number}")
        page.wait_for_load_state("load")
        type_answer(page)
        page.keyboard.press("j")
        page.keyboard.press("x")
        page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="3 of 3 answered")).to_be_visible()
    for reading in readings(site, "Keys"):
        assert reading["answer"]["misfits"] == [2]  # the first patch is the current one from the beginning
        assert reading["answer"]["answers"] == {
            "recognizable": "yes",
            "multiplicity": "multiple",
            "phenomena": ["mass-irregular", "margin-spiculated"],
            "associated": "unsure",
            "confidence": "4",
        }


def test_questions_and_save_are_visible_without_scrolling(site: Site, new_page: NewPage) -> None:
    """On a screen of 1280 x 800, all questions of the structured form and Save are inside the window."""
    page = new_page(viewport=WIDE)
    begin(page, site, "Wide")
    page.keyboard.press("1")
    questions = page.locator("[data-question]:visible").all()
    assert len(questions) == 6
    assert outside_window(page, [*questions, page.locator("#save")]) == []


def test_typed_text_survives_a_closed_tab(site: Site, new_page: NewPage) -> None:
    """What was typed is on the service once the page says so, and another browser of the reader shows it."""
    page = new_page()
    begin(page, site, "Draft")
    page.keyboard.press("1")
    page.get_by_label("In your own words (optional)").fill("half a thought")
    expect(page.locator("#draft-state")).to_have_text("Draft kept")
    address = page.url
    page.close()
    other = new_page()
    sign_in(other, "Draft")
    other.goto(address)
    expect(other.get_by_label("In your own words (optional)")).to_have_value("half a thought")
    assert readings(site, "Draft")[0]["answer"] is None


def test_typed_text_survives_a_lost_connection(site: Site, new_page: NewPage) -> None:
    """Without a connection, text stays in the browser; it is shown again after a crash of the tab, and saved then."""
    page = new_page(expected=("/readings/",))
    begin(page, site, "Offline")
    page.context.set_offline(True)
    type_answer(page)
    page.get_by_label("In your own words (optional)").fill("typed on the train")
    expect(page.locator("#draft-state")).to_contain_text("kept in this browser")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#draft-state")).to_contain_text("No connection")
    address, context = page.url, page.context
    page.close()
    context.set_offline(False)
    again = context.new_page()
    again.goto(address)
    expect(again.get_by_label("In your own words (optional)")).to_have_value("typed on the train")
    again.keyboard.press("Control+Enter")
    expect(again.get_by_role("heading", level=1)).to_contain_text("Item 2")
    assert "typed on the train" in str(readings(site, "Offline")[0]["answer"])


def test_an_ended_session_loses_no_word(site: Site, new_page: NewPage) -> None:
    """Saving after the session has ended leads through signing in back to the form, as it was typed."""
    page = new_page(expected=("/readings/",))
    begin(page, site, "Ended")
    type_answer(page)
    page.get_by_label("In your own words (optional)").fill("do not lose me")
    page.context.clear_cookies()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("Nothing is lost")
    page.get_by_label("Your name").fill("Ended")
    page.get_by_role("button", name="Sign in and continue").click()
    expect(page.get_by_label("In your own words (optional)")).to_have_value("do not lose me")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Item 2")
    answer = readings(site, "Ended")[0]["answer"]["answers"]
    assert answer["description"] == "do not lose me" and "margin-spiculated" in answer["phenomena"]


def test_two_tabs_show_both_answers(site: Site, new_page: NewPage) -> None:
    """The second tab does not overwrite the first: it shows both, and the reader chooses."""
    page = new_page(expected=("/readings/",))
    begin(page, site, "Tabs")
    other = page.context.new_page()
    other.goto(page.url)
    type_answer(page)
    page.get_by_label("In your own words (optional)").fill("first tab")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Item 2")
    other.get_by_label("Unsure").first.check()
    type_answer(other)
    other.get_by_label("In your own words (optional)").fill("second tab")
    other.keyboard.press("Control+Enter")
    expect(other.get_by_role("alert")).to_contain_text("You changed this answer elsewhere")
    expect(other.locator(".both")).to_contain_text("first tab")
    other.get_by_role("button", name="Save mine instead").click()
    expect(other.get_by_role("heading", level=1)).to_contain_text("Item 2")
    assert readings(site, "Tabs")[0]["answer"]["answers"]["description"] == "second tab"


def test_classes_are_shown_after_the_answer_is_locked(site: Site, new_page: NewPage) -> None:
    """Blind first; then the reader locks the answer, sees the classes, and may give a second answer."""
    page = new_page()
    begin(page, site, "Blind", reveal="after_answer")
    assert page.locator(".sign").count() == 0
    type_answer(page)
    page.keyboard.press("Control+Enter")
    page.get_by_role("button", name="Lock my answer and show the classes").click()
    expect(page.locator(".sign").first).to_be_visible()
    expect(page.get_by_role("heading", name="Your second answer")).to_be_visible()
    page.locator("[data-question=associated]").get_by_label("Yes").check()
    page.get_by_role("button", name="Save", exact=False).first.click()
    expect(page.get_by_role("status").first).to_contain_text("Saved")
    reading = readings(site, "Blind")[0]
    assert reading["answer"]["answers"]["associated"] == "unsure"
    assert reading["second_answer"]["answers"]["associated"] == "yes"


def test_the_next_item_is_fetched_before_it_opens(site: Site, new_page: NewPage) -> None:
    """While the reader judges an item, the page and the pictures of the next one are fetched."""
    page = new_page()
    requested: list[str] = []
    page.on("requestfinished", lambda request: requested.append(request.url))
    begin(page, site, "Ahead")
    following = readings(site, "Ahead")[1]["reading_id"]
    pictures = [f"{site.origin}/readings/{following}/pictures/{number}.jpg" for number in range(1, 17)]
    page.wait_for_function(
        "(wanted) => wanted.every((url) => performance.getEntriesByName(url).length > 0)", arg=pictures
    )
    page.keyboard.press("n")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Item 2")
    page.wait_for_load_state("load")
    cached = page.evaluate(
        "(urls) => urls.map((url) => performance.getEntriesByName(url)[0]?.transferSize ?? -1)", pictures
    )
    assert set(cached) == {0}


def test_pages_of_reader_studies_are_accessible(site: Site, new_page: NewPage) -> None:
    """No page scrolls sideways or has overlapping controls, and axe finds nothing serious or critical."""
    page = new_page()
    begin(page, site, "Axe", reveal="after_answer", shams=2)
    protocol = httpx.get(f"{site.origin}/v1/studies/{site.open_study_id}/protocols", timeout=30).json()["protocols"][0]
    key = f"{protocol['study_id']}/{protocol['version']}"
    found = faults_of(page, "a reading")
    type_answer(page)
    page.keyboard.press("Control+Enter")
    page.get_by_role("button", name="Lock my answer and show the classes").click()
    expect(page.locator(".sign").first).to_be_visible()
    found += faults_of(page, "the revealed reading")
    for path in ("/", f"/reading/{key}", f"/studies/{site.open_study_id}/protocol"):
        page.goto(path)
        found += faults_of(page, path)
    httpx.post(f"{site.origin}/v1/studies/{site.open_study_id}/protocols/{protocol['version']}/close", timeout=30)
    page.goto(f"/reading/{key}/results")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Results")
    found += faults_of(page, "results")
    page.get_by_role("link", name="Labels of units").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Labels")
    found += faults_of(page, "labels")
    page.locator("tbody a").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("unit_")
    found += faults_of(page, "a label")
    assert found == []
