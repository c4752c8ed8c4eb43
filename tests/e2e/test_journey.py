"""The work of readers in a real browser."""

import gzip
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from services.annotation.pages.frame import STATIC
from tests.e2e.browser import NARROW, WIDE, layout_faults, outside_window
from tests.e2e.conftest import Site, sign_in

NewPage = Callable[..., Page]
BUDGET_BYTES = 60_000


def answer(page: Page, text: str) -> None:
    """Answer the four questions and save."""
    page.get_by_role("group", name="recognizable phenomena").get_by_label("Yes").check()
    page.get_by_role("group", name="associated with breast cancer").get_by_label("Unsure").check()
    page.get_by_role("group", name="single unique phenomenon").get_by_label("Multiple").check()
    page.get_by_label("Please describe").fill(text)
    page.get_by_role("button", name="Save", exact=False).click()


def wait_for_unit(page: Page, unit: str) -> None:
    """Wait until the unit's page is loaded. Its scripts have run by then, since modules run before the load event."""
    expect(page.get_by_role("heading", level=1)).to_contain_text(unit)
    page.wait_for_load_state("load")


def test_a_reader_answers_a_unit_and_changes_the_answer(site: Site, new_page: NewPage) -> None:
    """A reader signs in, opens a unit, sees a mammogram, answers, finds the answer in the summary, and changes it."""
    page = new_page()
    sign_in(page, "Dr. Ana")
    page.locator("section", has_text="Withheld").get_by_role("link", name="All units").first.click()
    page.get_by_role("link", name="unit_0003", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("unit_0003")
    assert page.locator(".picture .sign").count() == 0

    page.locator(".picture").nth(1).hover()
    expect(page.locator("#mammogram-view")).to_be_visible()
    expect(page.locator("figcaption")).to_have_text("Picture 2 · Left MLO")

    answer(page, "Spiculated masses <b>in</b> dense tissue")
    expect(page.get_by_role("status")).to_contain_text("Saved: unit_0003")
    expect(page.get_by_role("heading", level=1)).to_contain_text("unit_0004")

    page.get_by_role("link", name="Summary").click()
    page.get_by_role("link", name="unit_0003").first.click()
    expect(page.locator(".picture .sign")).to_have_count(64)
    expect(page.get_by_label("Please describe")).to_have_value("Spiculated masses <b>in</b> dense tissue")
    page.get_by_label("Please describe").fill("Vessels")
    page.get_by_role("button", name="Save the change").click()
    expect(page.get_by_role("status")).to_contain_text("version 2")
    page.get_by_role("link", name="My answers").click()
    expect(page.locator("td.text")).to_have_text("Vessels")


def test_two_readers_do_not_see_each_other(site: Site, new_page: NewPage) -> None:
    """Two readers answer the same unit in two browsers: each sees only their own text."""
    ana, ben = new_page(), new_page()
    path = f"/studies/{site.study_id}/layers/block4/units/unit_0010?list=all"
    for page, name in ((ana, "Ana"), (ben, "Ben")):
        sign_in(page, name)
        page.goto(path)
    answer(ana, "ANAS WORDS")
    ben.reload()
    assert "ANAS WORDS" not in ben.content()
    assert ben.locator(".picture .sign").count() == 0
    answer(ben, "BENS WORDS")
    for page, own, other in ((ana, "ANAS WORDS", "BENS WORDS"), (ben, "BENS WORDS", "ANAS WORDS")):
        page.goto(path)
        expect(page.get_by_label("Please describe")).to_have_value(own)
        for where in ("/answers", "/summary", "/"):
            page.goto(where)
            assert other not in page.content()
    ana.goto("/summary")
    expect(ana.get_by_role("heading", name="Ben")).to_be_visible()


def test_the_survey_works_by_keyboard(site: Site, new_page: NewPage) -> None:
    """Keys answer, move and save. In a text field they type letters; switched off, they do nothing."""
    page = new_page()
    sign_in(page, "Keys")
    page.goto(f"/studies/{site.study_id}/layers/block4/units/unit_0012?list=all")
    expect(page.locator(".picture.current")).to_have_attribute("data-rank", "1")  # from the beginning
    for _ in range(3):
        page.keyboard.press("j")
    assert page.evaluate("document.activeElement.dataset.rank") == "4"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.rank") == "6"
    page.keyboard.press("Enter")
    expect(page.locator("#enlarged")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("+")
    expect(page.locator("#patch-view")).to_have_attribute("data-zoom", "1.25")
    page.keyboard.press("0")
    expect(page.locator("#patch-view")).to_have_attribute("data-zoom", "1.00")
    page.keyboard.press("2")
    assert page.locator("#q-associated input").first.is_disabled()
    page.keyboard.press("1")
    assert page.locator("#q-associated input").first.is_enabled()
    assert page.locator("#q-associated :checked").count() == 0
    page.get_by_role("group", name="associated with").get_by_label("No", exact=True).check()
    page.get_by_role("group", name="single unique").get_by_label("Single").check()
    page.get_by_label("Please describe").click()
    page.keyboard.type("jnpk123 no picture moves")
    expect(page.get_by_label("Please describe")).to_have_value("jnpk123 no picture moves")
    assert page.locator("[name=recognizable]:checked").get_attribute("value") == "yes"
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("status")).to_contain_text("Saved: unit_0012")
    wait_for_unit(page, "unit_0013")
    page.keyboard.press("n")
    wait_for_unit(page, "unit_0014")
    page.keyboard.press("p")
    wait_for_unit(page, "unit_0013")
    page.locator("#shortcuts summary").click()
    page.get_by_label("Use these keys").uncheck()
    for key in ("n", "1", "+", "m", "b", "Shift+ArrowLeft", "j"):
        page.keyboard.press(key)
    expect(page.get_by_role("heading", level=1)).to_contain_text("unit_0013")
    expect(page.locator("[name=recognizable]:checked")).to_have_count(0)
    expect(page.locator("#patch-view")).to_have_attribute("data-zoom", "1.00")
    expect(page.locator("#window-text")).to_have_text("128 / 256, 8 bits")
    expect(page.get_by_label("Use these keys")).to_be_focused()
    expect(page.locator(".picture.current")).to_have_attribute("data-rank", "1")


def test_the_questions_are_visible_without_scrolling(site: Site, new_page: NewPage) -> None:
    """On a screen of 1280 x 800, the four questions and Save are inside the window."""
    page = new_page(viewport=WIDE)
    sign_in(page, "Screen")
    for study_id in (site.study_id, site.open_study_id):
        page.goto(f"/studies/{study_id}/layers/block4/units/unit_0015?list=all")
        questions = page.locator(".question").all()
        assert len(questions) == 4
        assert outside_window(page, [*questions, page.locator("#save")]) == []


def test_a_picture_shows_what_is_known_of_its_patch(site: Site, new_page: NewPage) -> None:
    """Where classes are shown, the caption has class, phenomenon and name; a patch without a full mammogram says so."""
    page = new_page()
    sign_in(page, "Caption")
    page.goto(f"/studies/{site.open_study_id}/layers/block4/units/unit_0003?list=all")
    picture, caption = page.locator(".picture").nth(1), page.locator("figcaption span")
    picture.focus()
    patch = str(picture.get_attribute("data-patch"))
    expect(caption).to_have_text(["Picture 2 · Left MLO · benign · circumscribed mass", patch])
    expect(page.get_by_text("no full mammogram")).to_be_hidden()
    page.locator(".picture").nth(2).evaluate("picture => delete picture.dataset.box")
    page.keyboard.press("j")
    expect(page.get_by_text("The data set has no full mammogram of this patch.")).to_be_visible()
    expect(page.locator("#mammogram-view")).to_be_hidden()


def test_a_reader_settles_an_answer_changed_in_two_tabs(site: Site, new_page: NewPage) -> None:
    """The later tab shows both texts, and one click keeps either."""
    path = f"/studies/{site.study_id}/layers/block4/units/unit_0020?list=all"
    page = new_page(expected=("unit_0020",))
    sign_in(page, "Tabs")
    page.goto(path)
    other = page.context.new_page()
    other.goto(path)
    answer(page, "First tab")
    expect(page.get_by_role("status")).to_contain_text("Saved")
    answer(other, "Second tab")
    expect(other.get_by_role("heading", name="You changed this answer elsewhere")).to_be_visible()
    expect(other.locator(".stale")).to_contain_text("First tab")
    expect(other.get_by_label("Please describe")).to_have_value("Second tab")
    assert layout_faults(other) == []
    other.get_by_role("button", name="Save mine instead").click()
    expect(other.get_by_role("status")).to_contain_text("version 2")


def test_a_session_that_ends_while_typing_loses_nothing(site: Site, new_page: NewPage) -> None:
    """Saving without a session shows a sign-in; afterwards the text is there again and can be saved."""
    page = new_page(expected=("unit_0021",))
    sign_in(page, "Late")
    page.goto(f"/studies/{site.study_id}/layers/block4/units/unit_0021?list=all")
    page.context.clear_cookies()
    answer(page, "Half an hour of work")
    page.get_by_label("Your name").fill("Late")
    page.get_by_role("button", name="Sign in and continue").click()
    expect(page.get_by_label("Please describe")).to_have_value("Half an hour of work")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("Saved: unit_0021")


def test_pages_work_without_scripts(site: Site, new_page: NewPage) -> None:
    """Signing in, answering and signing out work without scripts."""
    page = new_page(java_script_enabled=False)
    sign_in(page, "Plain")
    page.goto(f"/studies/{site.study_id}/layers/block6/units/unit_0001?list=subset")
    answer(page, "Without a script")
    expect(page.get_by_role("status")).to_contain_text("Saved: unit_0001")
    page.wait_for_load_state("networkidle")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in to read")).to_be_visible()


def test_pictures_load_only_when_needed(site: Site, new_page: NewPage) -> None:
    """The first patch and its mammogram load with the page, others when the reader comes to them; pictures far below
    load when the reader scrolls there."""
    page = new_page()
    sign_in(page, "Lazy")
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(f"/studies/{site.study_id}/layers/block4/units/unit_0024?list=all")
    page.wait_for_load_state("networkidle")
    assert len([url for url in requested if "/mammograms/" in url]) == 1
    sources = {url.rpartition("/")[2] for url in requested if "/pictures/" in url and url.endswith(".grey")}
    assert sources == {"1.grey", "2.grey"}  # the next one is fetched ahead
    assert not [url for url in requested if url.endswith("/40.jpg")]
    page.locator(".picture").nth(1).focus()
    expect(page.locator("#window-text")).to_contain_text("16 bits")
    page.wait_for_load_state("networkidle")
    assert len([url for url in requested if "/mammograms/" in url]) == 2
    page.get_by_text("More pictures").click()
    page.locator(".picture").nth(39).scroll_into_view_if_needed()
    expect(page.locator(".picture img").nth(39)).to_have_js_property("naturalWidth", 128)


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_page_has_a_sound_layout(site: Site, new_page: NewPage, viewport: ViewportSize) -> None:
    """On no page is there sideways scrolling, an overlap of controls or a missing picture."""
    page = new_page(viewport=viewport, expected=("/nowhere", "unit_0025"))
    page.goto("/sign-in")
    assert layout_faults(page) == []
    sign_in(page, f"An exceedingly long name of a reader: {viewport['width']}")
    layer, shown = f"/studies/{site.study_id}/layers/block4", f"/studies/{site.open_study_id}/layers/block4"
    page.goto(f"{layer}/units/unit_0025?list=all")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".fault, .trouble").first).to_be_visible()
    assert layout_faults(page) == []
    answer(page, "x" * 400 + " long words and many of them" * 20)
    expect(page.get_by_role("status")).to_be_visible()
    for path in ("/", "/answers", "/summary", "/nowhere", "/docs", f"{layer}?list=subset", f"{layer}?list=ranked",
                 f"{shown}?list=all&sort=class&page=2", f"{layer}/units/unit_0001?list=all",
                 f"{layer}/units/unit_0025?list=all", f"{layer}/units/unit_0006?list=all"):  # fmt: skip
        page.goto(path)
        assert layout_faults(page) == [], path
    page.goto(f"{shown}/units/unit_0002?list=all")
    page.locator(".picture").nth(3).click()
    expect(page.locator("#enlarged #mammogram-view")).to_be_visible()
    expect(page.locator("#enlarged #window-text")).to_contain_text("bits")
    page.wait_for_load_state("networkidle")
    box = page.locator("#enlarged").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= viewport["width"]
    assert box["y"] + box["height"] <= viewport["height"]


def test_the_layout_check_finds_faults(new_page: NewPage) -> None:
    """A page that is too wide, with two overlapping buttons and a missing picture, has three faults."""
    page = new_page(expected=("/nothing.jpg",))
    page.goto("/sign-in")
    page.evaluate("""() => {
      const one = document.querySelector('main button'), other = one.cloneNode(true), image = new Image();
      one.after(other);
      other.style.marginLeft = '-60px';
      document.body.style.width = '150vw';
      image.src = '/mammograms/x/nothing.jpg';
      document.body.append(image);
    }""")
    found = sorted(fault.split(":")[0] for fault in layout_faults(page))
    assert found == ["does not load", "overlap", "scrolls sideways"]


def test_the_survey_is_light(site: Site, new_page: NewPage) -> None:
    """The gzipped scripts and styles of the survey page stay within the budget; the page requests no others."""
    page = new_page()
    sign_in(page, "Light")
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(f"/studies/{site.study_id}/layers/block4/units/unit_0002?list=all")
    page.wait_for_load_state("networkidle")
    names = {re.sub(r".*/static/\w+/", "", url) for url in requested if re.search(r"\.(js|css)$", url)}
    viewer = {"viewer.js", "view.js", "grey.js", "viewer_keys.js", "gallery.js"}
    assert names == {"app.css", "reading.css", "survey.js", "form.js", "keys.js"} | viewer
    size = sum(len(gzip.compress((STATIC / name).read_bytes())) for name in names)
    print(f"scripts and styles of a survey: {size} bytes with gzip")
    assert size <= BUDGET_BYTES
